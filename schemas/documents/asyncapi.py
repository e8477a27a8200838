"""The topics and their messages as an AsyncAPI 3 document."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from schemas.clickstream import Identifier
from schemas.dead_letter import DeadLetterHeader, DeadLetterReason
from schemas.documents.docstrings import attribute_docs, class_doc
from schemas.message_types import (
    MESSAGES,
    WIRE_MESSAGES,
    avro_schema_file,
    json_schema_file,
)
from schemas.settings import KafkaSettings
from schemas.topics import TOPIC_SPECS, Partitioning, Topic, TopicSpec
from schemas.user_state import UserState

ASYNCAPI_VERSION = "3.0.0"
CONTRACT_VERSION = "1.0.0"
"""Of the messages: the last part for words, the middle for additions, the first for breaks."""

DEAD_LETTER_MESSAGE = "DeadLetter"
_KAFKA_BINDING = "0.5.0"
_JSON_SCHEMA_FORMAT = "application/schema+json;version=draft-2020-12"
_AVRO_FORMAT = "application/vnd.apache.avro+json;version=1.11.0"

# What innerloop does with each topic; `user-state` and `item-transitions` are its own changelogs,
# written and read back, and `models` is written by its command line.
_ACTIONS: dict[Topic, tuple[str, ...]] = {
    Topic.CLICKSTREAM: ("receive",),
    Topic.CATALOG: ("receive",),
    Topic.RECOMMENDATIONS: ("send", "receive"),
    Topic.USER_STATE: ("send", "receive"),
    Topic.ITEM_TRANSITIONS: ("send", "receive"),
    Topic.MODELS: ("send", "receive"),
    Topic.DEAD_LETTERS: ("send",),
    Topic.PRIVACY: ("send", "receive"),
    Topic.PRIVACY_AUDIT: ("send",),
    Topic.TRENDING: ("send",),
    Topic.OUTCOMES: ("send",),
}


def asyncapi_document() -> str:
    """Return the document as YAML; payloads refer to the schema files beside it."""
    document = {
        "asyncapi": ASYNCAPI_VERSION,
        "id": "urn:innerloop",
        "info": {
            "title": "innerloop",
            "version": CONTRACT_VERSION,
            "description": (
                "Topics of a recommender that adapts to a new user while that user is still "
                "browsing. Names are before the setting kafka.topic_prefix; partitions and "
                "replicas are the defaults of the settings kafka.partitions and "
                "kafka.replication_factor. Messages are JSON, or Avro in Schema-Registry framing "
                "where the setting wire.format says so; those of user-state, item-transitions "
                "and models are in the one format that is given here."
            ),
            "license": {
                "name": "Apache-2.0",
                "url": "https://www.apache.org/licenses/LICENSE-2.0",
            },
        },
        "defaultContentType": "application/json",
        "channels": {spec.topic.value: _channel(spec) for spec in TOPIC_SPECS.values()},
        "operations": {
            f"{action}-{topic.value}": _operation(action, TOPIC_SPECS[topic])
            for topic, actions in _ACTIONS.items()
            for action in actions
        },
        "components": {"messages": _messages()},
    }
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
    return text


def _channel(spec: TopicSpec) -> dict[str, Any]:
    defaults = KafkaSettings()
    return {
        "address": spec.topic.value,
        "summary": spec.summary,
        "messages": {
            name: {"$ref": f"#/components/messages/{name}"} for name in _message_names(spec)
        },
        "bindings": {
            "kafka": {
                "partitions": (
                    1 if spec.partitioning is Partitioning.SINGLE else defaults.partitions
                ),
                "replicas": defaults.replication_factor,
                "topicConfiguration": _topic_configuration(spec),
                "bindingVersion": _KAFKA_BINDING,
            }
        },
    }


def _topic_configuration(spec: TopicSpec) -> dict[str, Any]:
    configuration: dict[str, Any] = {
        "cleanup.policy": spec.config.get("cleanup.policy", "delete").split(",")
    }
    for name, value in spec.config.items():
        if name != "cleanup.policy":
            configuration[name] = int(value)
    return configuration


def _operation(action: str, spec: TopicSpec) -> dict[str, Any]:
    channel = f"#/channels/{spec.topic.value}"
    return {
        "action": action,
        "channel": {"$ref": channel},
        "messages": [{"$ref": f"{channel}/messages/{name}"} for name in _message_names(spec)],
    }


def _message_names(spec: TopicSpec) -> list[str]:
    if spec.message is None:
        return [DEAD_LETTER_MESSAGE]
    name = spec.message.__name__
    return [name, f"{name}Avro"] if spec.message in WIRE_MESSAGES else [name]


def _messages() -> dict[str, Any]:
    keys = {spec.message: spec.key for spec in TOPIC_SPECS.values()}
    messages: dict[str, Any] = {}
    for message in MESSAGES:
        messages[message.__name__] = _message(message, keys[message])
        if message in WIRE_MESSAGES:
            messages[f"{message.__name__}Avro"] = _avro_message(message, keys[message])
    messages[DEAD_LETTER_MESSAGE] = _dead_letter()
    return messages


def _message(message: type[msgspec.Struct], key: str) -> dict[str, Any]:
    description: dict[str, Any] = {
        "name": message.__name__,
        "summary": class_doc(message).split("\n\n", maxsplit=1)[0],
        "payload": {
            "schemaFormat": _JSON_SCHEMA_FORMAT,
            "schema": {"$ref": f"./{json_schema_file(message)}"},
        },
        "bindings": {"kafka": _key_binding(key)},
    }
    if message is UserState:
        description["contentType"] = "application/vnd.msgpack"
    return description


def _avro_message(message: type[msgspec.Struct], key: str) -> dict[str, Any]:
    return {
        "name": message.__name__,
        "title": f"{message.__name__} in Avro",
        "contentType": "application/vnd.apache.avro",
        "payload": {
            "schemaFormat": _AVRO_FORMAT,
            "schema": {"$ref": f"./{avro_schema_file(message)}"},
        },
        "bindings": {
            "kafka": {
                "schemaIdLocation": "payload",
                "schemaIdPayloadEncoding": "confluent",
                "schemaLookupStrategy": "TopicNameStrategy",
                **_key_binding(key),
            }
        },
    }


def _key_binding(key: str) -> dict[str, Any]:
    identifier = msgspec.json.schema(Identifier)
    return {"key": {**identifier, "description": key}, "bindingVersion": _KAFKA_BINDING}


def _dead_letter() -> dict[str, Any]:
    docs = attribute_docs(DeadLetterHeader)
    headers: dict[str, Any] = {}
    for header in DeadLetterHeader:
        headers[header.value] = {"type": "string"}
        if header.name in docs:
            headers[header.value]["description"] = docs[header.name]
    headers[DeadLetterHeader.REASON.value]["enum"] = [reason.value for reason in DeadLetterReason]
    return {
        "name": DEAD_LETTER_MESSAGE,
        "summary": "A record that could not be used: key and value as they were, byte for byte.",
        "contentType": "application/octet-stream",
        "headers": {"type": "object", "properties": headers, "required": list(headers)},
        "bindings": {"kafka": {"bindingVersion": _KAFKA_BINDING}},
    }
