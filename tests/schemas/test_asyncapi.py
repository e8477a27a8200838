"""The AsyncAPI document is valid, and names every topic as it is."""

from __future__ import annotations

import copy
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from schemas.dead_letter import DeadLetterHeader, DeadLetterReason
from schemas.documents import ASYNCAPI_FILE
from schemas.message_types import (
    WIRE_MESSAGES,
    avro_schema_file,
    json_schema_file,
    stored_documents,
)
from schemas.settings import KafkaSettings
from schemas.topics import TOPIC_SPECS, Partitioning, Topic

OFFICIAL_SCHEMA = Path(__file__).parent / "data" / "asyncapi-3.0.0.schema.json.gz"
OFFICIAL_SHA256 = "abe96881dbfaad495ccbb6bd8d3fb43ca18a13b9d7564849ccb66f39d5e5b20f"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return yaml.safe_load((stored_documents() / ASYNCAPI_FILE).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def official() -> Draft7Validator:
    content = gzip.decompress(OFFICIAL_SCHEMA.read_bytes())
    assert hashlib.sha256(content).hexdigest() == OFFICIAL_SHA256
    return Draft7Validator(json.loads(content))


def test_it_is_valid_by_the_official_schema(document, official):
    official.validate(document)


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (["asyncapi"], "4.0.0"),
        (["operations", "receive-catalog", "action"], "swallow"),
        (["channels", "catalog", "bindings", "kafka", "partitions"], "many"),
        (
            ["channels", "catalog", "bindings", "kafka", "topicConfiguration", "cleanup.policy"],
            ["shred"],
        ),
        (["components", "messages", "DeadLetter", "headers", "type"], "listing"),
    ],
)
def test_the_official_schema_reaches_every_part(document, official, path, wrong):
    broken = copy.deepcopy(document)
    part = broken
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = wrong
    assert not official.is_valid(broken)


def references(part: Any) -> list[str]:
    if isinstance(part, list):
        return [found for item in part for found in references(item)]
    if not isinstance(part, dict):
        return []
    own = [part["$ref"]] if "$ref" in part else []
    return own + [found for item in part.values() for found in references(item)]


def test_every_reference_leads_somewhere(document):
    found = references(document)
    files = {reference for reference in found if not reference.startswith("#")}
    for reference in set(found) - files:
        part = document
        for key in reference.removeprefix("#/").split("/"):
            part = part[key]
    described = {f"./{json_schema_file(spec.message)}" for spec in specs() if spec.message}
    assert files == described | {f"./{avro_schema_file(message)}" for message in WIRE_MESSAGES}
    assert all((stored_documents() / reference).is_file() for reference in files)


def specs():
    return TOPIC_SPECS.values()


def test_every_topic_is_a_channel_and_has_an_operation(document):
    assert set(document["channels"]) == set(Topic)
    used = {operation["channel"]["$ref"] for operation in document["operations"].values()}
    assert used == {f"#/channels/{topic.value}" for topic in Topic}


@pytest.mark.parametrize("topic", Topic)
def test_a_channel_has_its_topics_policy_and_messages(document, topic):
    spec, channel = TOPIC_SPECS[topic], document["channels"][topic.value]
    binding = channel["bindings"]["kafka"]
    assert channel["address"] == topic.value
    single = spec.partitioning is Partitioning.SINGLE
    assert binding["partitions"] == (1 if single else KafkaSettings().partitions)
    configuration = binding["topicConfiguration"]
    assert configuration.pop("cleanup.policy") == [spec.config.get("cleanup.policy", "delete")]
    wanted = {name: int(v) for name, v in spec.config.items() if name != "cleanup.policy"}
    assert configuration == wanted
    name = spec.message.__name__ if spec.message else "DeadLetter"
    avro = [f"{name}Avro"] if spec.message in WIRE_MESSAGES else []
    assert list(channel["messages"]) == [name, *avro]
    for message in channel["messages"]:
        kafka = document["components"]["messages"][message]["bindings"]["kafka"]
        if spec.message:
            assert kafka["key"]["description"] == spec.key


def test_dead_letters_list_their_headers_and_reasons(document):
    headers = document["components"]["messages"]["DeadLetter"]["headers"]
    assert set(headers["properties"]) == set(DeadLetterHeader)
    reasons = headers["properties"][DeadLetterHeader.REASON.value]["enum"]
    assert reasons == list(DeadLetterReason)
