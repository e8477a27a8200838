"""What other versions wrote stays readable, and what this one writes is readable to them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from schemas.avro_codec import AvroCodec
from schemas.clickstream import EventType
from schemas.codec import JsonCodec, decode_rollout, decode_state, decode_transitions
from schemas.documents.asyncapi import CONTRACT_VERSION
from schemas.item_transitions import ItemTransitions
from schemas.message_types import MESSAGES, WIRE_MESSAGES, avro_schema, file_stem
from schemas.model_rollout import ModelRollout
from schemas.schema_registry import parse_schema
from schemas.user_state import FirstUserState, UserState, event_key

STORED = Path(__file__).parent / "data" / "stored"
HEADER_BYTES = 5


def versions(message: type) -> dict[str, Any]:
    stored = json.loads((STORED / f"{file_stem(message)}.json").read_text(encoding="utf-8"))
    return stored["versions"]


CASES = [(message, version) for message in WIRE_MESSAGES for version in versions(message)]
FOR_EACH_STORED = pytest.mark.parametrize(
    ("message", "version"),
    CASES,
    ids=[f"{message.__name__}-{version}" for message, version in CASES],
)
FOR_EACH_WIRE_MESSAGE = pytest.mark.parametrize(
    "message", WIRE_MESSAGES, ids=lambda cls: cls.__name__
)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda cls: cls.__name__)
def test_every_message_of_this_contract_is_stored(message):
    assert {"earlier", CONTRACT_VERSION, "newer"} <= set(versions(message))


def says(actual: Any, expected: Any) -> bool:
    """Tell whether a value holds all that is expected of it, by the names of the time."""
    if isinstance(expected, dict):
        return all(name in actual and says(actual[name], part) for name, part in expected.items())
    if isinstance(expected, list):
        return len(actual) >= len(expected) and all(map(says, actual, expected))
    return actual == expected


@FOR_EACH_STORED
def test_stored_json_is_read_as_it_was_meant(message, version):
    stored = versions(message)[version]
    decoded = JsonCodec().decoder(message)(stored["json"].encode())
    assert says(msgspec.to_builtins(decoded), stored["reads_as"])


@FOR_EACH_STORED
def test_stored_avro_is_read_as_it_was_meant(message, version):
    stored = versions(message)[version]
    registry = SchemaRegistryClient.new_client({"url": "mock://evolution"})
    schema_id = registry.register_schema(
        "its-topic-value", Schema(json.dumps(stored["avro_schema"]), "AVRO")
    )
    value = bytes.fromhex(stored["avro"])
    assert value[:HEADER_BYTES] == b"\0" + schema_id.to_bytes(4, "big")
    decoded = AvroCodec(registry).decoder(message)(value)
    assert says(msgspec.to_builtins(decoded), stored["reads_as"])


@FOR_EACH_STORED
def test_schemas_resolve_by_avros_own_rules(message, version):
    """The stored values by fastavro alone, without any leniency of the codec's."""
    stored = versions(message)[version]
    data = io.BytesIO(bytes.fromhex(stored["avro"])[HEADER_BYTES:])
    own = fastavro.parse_schema(json.loads(avro_schema(message)))
    writer = fastavro.parse_schema(stored["avro_schema"])
    record = fastavro.schemaless_reader(data, writer, own)
    assert set(record) == set(message.__struct_fields__)


@FOR_EACH_STORED
def test_readers_of_another_version_read_what_this_one_writes(message, version):
    stored = versions(message)[version]
    original = msgspec.convert(stored["reads_as"], message)
    data = io.BytesIO()
    own = parse_schema(avro_schema(message))
    fastavro.schemaless_writer(data, own, msgspec.to_builtins(original))
    data.seek(0)
    reader = parse_schema(json.dumps(widened(stored["avro_schema"])))
    record = fastavro.schemaless_reader(data, own, reader)
    assert msgspec.convert(record, message) == original


def widened(schema: Any) -> Any:
    """Return a schema with numbers as wide as today's: narrowing is no change that Avro allows."""
    if isinstance(schema, list):
        return [widened(part) for part in schema]
    if isinstance(schema, dict):
        return {k: widened(part) for k, part in schema.items()}
    return {"int": "long", "float": "double"}.get(schema, schema)


@FOR_EACH_WIRE_MESSAGE
def test_every_default_of_a_type_fills_in_for_a_writer_without_the_field(message):
    """A writer with the required fields alone, so that no default can be forgotten or differ."""
    schema = json.loads(avro_schema(message))
    required = [field for field in schema["fields"] if "default" not in field]
    stored = versions(message)[CONTRACT_VERSION]["reads_as"]
    record = {field["name"]: stored[field["name"]] for field in required}
    data = io.BytesIO()
    fastavro.schemaless_writer(data, fastavro.parse_schema({**schema, "fields": required}), record)
    data.seek(0)
    writer = fastavro.parse_schema({**schema, "fields": required})
    read = fastavro.schemaless_reader(data, writer, fastavro.parse_schema(schema))
    names = {field.name for field in msgspec.structs.fields(message) if field.required}
    assert set(record) == names
    filled = {name: value for name, value in read.items() if name not in names}
    defaults = {
        field.name: msgspec.to_builtins(
            field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        )
        for field in msgspec.structs.fields(message)
        if not field.required
    }
    assert {k: tuple(v) if isinstance(v, list) else v for k, v in filled.items()} == defaults


@pytest.mark.parametrize("version", versions(UserState))
def test_stored_user_states_stay_readable(version):
    stored = versions(UserState)[version]
    value = bytes.fromhex(stored["msgpack"])
    first = msgspec.msgpack.decode(value, type=FirstUserState)
    assert says(json.loads(msgspec.json.encode(first)), stored["reads_as"])
    state = decode_state(value)
    for name in ("version", "user_id", "partition", "offset", "events_seen", "last_time"):
        assert getattr(state, name) == getattr(first, name)
    assert state.model_version == first.model_version
    assert state.arrays == first.hidden + first.fast_bias + first.fast_adapter
    recent = state.recent
    assert list(recent.event_keys()) == [event_key(e.event_id) for e in first.recent]
    assert recent.times(state.active) == [e.time for e in first.recent]
    assert [list(EventType)[place] for place in recent.types] == [e.type for e in first.recent]
    assert recent.items == [e.item_id for e in first.recent]
    assert recent.queries == {
        place: e.query for place, e in enumerate(first.recent) if e.query is not None
    }
    assert state.active == max(first.last_time, *(e.time for e in first.recent))


@pytest.mark.parametrize("version", versions(ItemTransitions))
def test_stored_item_transitions_stay_readable(version):
    stored = versions(ItemTransitions)[version]
    decoded = decode_transitions(stored["json"].encode())
    assert says(msgspec.to_builtins(decoded), stored["reads_as"])


@pytest.mark.parametrize("version", versions(ModelRollout))
def test_stored_plans_of_models_stay_readable(version):
    stored = versions(ModelRollout)[version]
    assert says(msgspec.to_builtins(decode_rollout(stored["json"].encode())), stored["reads_as"])
