"""Messages to bytes and back, and what becomes of bytes that are no message."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import msgspec
import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from hypothesis import given
from hypothesis import strategies as st

from schemas.avro_codec import AvroCodec
from schemas.clickstream import ClickstreamEvent, EventType
from schemas.codec import (
    DECODE_ERRORS,
    JsonCodec,
    build_codec,
    decode_error,
    decode_state,
    encode_state,
)
from schemas.dead_letter import DeadLetterReason
from schemas.errors import CodecError, DecodeError, RegistryError, SettingsError
from schemas.insights import TrendingItem
from schemas.item_transitions import ItemTransitions
from schemas.message_types import MESSAGES, WIRE_MESSAGES, avro_schema
from schemas.model_rollout import ModelRollout
from schemas.privacy import PrivacyRequest
from schemas.recommendations import ReasonKind, Recommendation
from schemas.settings import WireSettings
from schemas.topics import Topic
from schemas.user_state import UserState

EVENT = ClickstreamEvent(
    event_id="e-1", user_id="u-1", type=EventType.VIEW, time=1_700_000_000_000, item_id="i-1"
)
TOPIC = Topic.CLICKSTREAM.value


CODECS = [JsonCodec(), build_codec(WireSettings(format="avro", registry_url="mock://codecs"))]
WITH_EACH_CODEC = pytest.mark.parametrize("codec", CODECS, ids=["json", "avro"])


def registry() -> SchemaRegistryClient:
    return SchemaRegistryClient.new_client({"url": "mock://of-its-own"})


def rejection(codec, value: bytes, message=ClickstreamEvent) -> DecodeError:
    decode = codec.decoder(message)
    with pytest.raises(DECODE_ERRORS) as caught:
        decode(value)
    return decode_error(caught.value, value)


@pytest.mark.parametrize("message", WIRE_MESSAGES, ids=lambda message: message.__name__)
@WITH_EACH_CODEC
@given(data=st.data())
def test_every_message_survives_the_wire(codec, message, messages_of, data):
    original = data.draw(messages_of(message))
    assert codec.decoder(message)(codec.encode("a-topic", original)) == original


@given(data=st.data())
def test_a_user_state_survives_its_changelog(messages_of, data):
    original = data.draw(messages_of(UserState))
    assert decode_state(encode_state(original)) == original


def test_the_two_kinds_of_messages_are_all_messages():
    assert set(MESSAGES) - set(WIRE_MESSAGES) == {UserState, ItemTransitions, ModelRollout}


def test_avro_values_carry_the_registered_schemas_id():
    client = registry()
    client.register_schema("something-else-value", Schema('"string"', "AVRO"))
    value = AvroCodec(client).encode(TOPIC, EVENT)
    registered = client.get_latest_version(f"{TOPIC}-value")
    assert value[0] == 0
    assert struct.unpack(">I", value[1:5]) == (registered.schema_id,)
    assert msgspec.json.decode(registered.schema.schema_str) == msgspec.json.decode(
        avro_schema(ClickstreamEvent)
    )


def test_without_auto_register_an_unknown_schema_is_refused():
    client = registry()
    codec = AvroCodec(client, auto_register=False)
    with pytest.raises(RegistryError, match=r"clickstream-value.*wire\.auto_register"):
        codec.encode(TOPIC, EVENT)
    client.register_schema(f"{TOPIC}-value", Schema(avro_schema(ClickstreamEvent), "AVRO"))
    assert codec.decoder(ClickstreamEvent)(codec.encode(TOPIC, EVENT)) == EVENT


JSON = b'{"event_id":"e","user_id":"u","type":"view","time":1,"item_id":"i"}'
DEEP = b"[" * 200_000 + b"]" * 200_000


EMPTY, MALFORMED = DeadLetterReason.EMPTY_VALUE, DeadLetterReason.MALFORMED
INVALID_UTF8, INVALID_FIELD = DeadLetterReason.INVALID_UTF8, DeadLetterReason.INVALID_FIELD
BAD_JSON = {
    "nothing": (b"", EMPTY, "empty"),
    "cut off": (JSON[:30], MALFORMED, "truncated"),
    "more behind": (JSON + b"{}", MALFORMED, "trailing characters (byte 68)"),
    "no JSON": (b"clicked!", MALFORMED, "byte 0"),
    "byte order mark": (b"\xef\xbb\xbf" + JSON, MALFORMED, "byte 0"),
    "half a surrogate": (JSON.replace(b'"u"', b'"\\ud800"'), MALFORMED, "surrogate"),
    "not a number": (JSON[:-1] + b',"price":NaN}', MALFORMED, "invalid character"),
    "deep": (JSON[:-1] + b',"new":' + DEEP + b"}", MALFORMED, "nested too deeply"),
    "Latin-1": (JSON.replace(b'"u"', b'"\xff"'), INVALID_UTF8, "byte 27"),
    "UTF-16": (JSON.decode().encode("utf-16"), INVALID_UTF8, "byte 0"),
    "null": (b"null", INVALID_FIELD, "`object`"),
    "a list": (b"[]", INVALID_FIELD, "`object`"),
    "field missing": (b'{"event_id":"e"}', INVALID_FIELD, "`user_id`"),
    "wrong type": (JSON.replace(b":1", b':"1"'), INVALID_FIELD, "$.time"),
    "negative": (JSON.replace(b":1", b":-1"), INVALID_FIELD, "$.time"),
    "beyond 64 bits": (JSON.replace(b":1", b":" + b"9" * 30), INVALID_FIELD, "$.time"),
    "empty id": (JSON.replace(b'"u"', b'""'), INVALID_FIELD, "$.user_id"),
    "long id": (JSON.replace(b'"u"', b'"%s"' % (b"u" * 129)), INVALID_FIELD, "$.user_id"),
    "unknown type": (JSON.replace(b"view", b"gaze"), INVALID_FIELD, "'gaze' - at `$.type`"),
    "search, no query": (JSON.replace(b"view", b"search"), INVALID_FIELD, "`query`"),
    "view, no item": (JSON.replace(b"item_id", b"item"), INVALID_FIELD, "`item_id`"),
    "infinite": (JSON[:-1] + b',"price":1e999}', INVALID_FIELD, "$.price"),
    "too many stars": (JSON[:-1] + b',"rating":5.5}', INVALID_FIELD, "$.rating"),
    "line end": (JSON[:-1] + b',"currency":"USD\\n"}', INVALID_FIELD, "$.currency"),
}


@pytest.mark.parametrize(("value", "reason", "says"), BAD_JSON.values(), ids=BAD_JSON)
def test_bad_json_is_named_by_reason_and_place(value, reason, says):
    failure = rejection(JsonCodec(), value)
    assert failure.reason is reason
    assert says in str(failure)


def test_what_json_skips_unread_does_no_harm():
    decode = JsonCodec().decoder(ClickstreamEvent)
    assert decode(JSON[:-1] + b',"newer":{"a":["\xff"]}}') == decode(JSON)


def test_a_rejection_is_short_and_holds_no_id():
    value = JSON.replace(b'"u"', b"12345678").replace(b"view", b"gaze" * 1000)
    assert "12345678" not in str(rejection(JsonCodec(), JSON.replace(b'"u"', b"12345678")))
    assert len(str(rejection(JsonCodec(), value.replace(b"12345678", b'"u"')))) < 400


def framed(writer_schema: str, data: bytes) -> tuple[AvroCodec, bytes]:
    client = registry()
    schema_id = client.register_schema("any-value", Schema(writer_schema, "AVRO"))
    return AvroCodec(client), struct.pack(">bI", 0, schema_id) + data


def test_bad_avro_is_named_by_reason():
    codec = AvroCodec(registry())
    value = codec.encode(TOPIC, EVENT)
    reasons = {
        b"": DeadLetterReason.EMPTY_VALUE,
        value[:3]: DeadLetterReason.MALFORMED,
        JSON: DeadLetterReason.MALFORMED,
        value[:9]: DeadLetterReason.MALFORMED,
        value + b"\0": DeadLetterReason.MALFORMED,
        value.replace(b"u-1", b"u\xff1"): DeadLetterReason.INVALID_UTF8,
        b"\0\0\0\0\x63" + value[5:]: DeadLetterReason.UNKNOWN_SCHEMA,
    }
    assert {bad: rejection(codec, bad).reason for bad in reasons} == reasons


def test_avro_fields_are_checked_as_json_fields_are():
    codec = AvroCodec(registry())
    for event, says in [
        (msgspec.structs.replace(EVENT, user_id=""), "user_id"),
        (msgspec.structs.replace(EVENT, time=-1), "time"),
        (msgspec.structs.replace(EVENT, price=float("nan")), "price"),
        (msgspec.structs.replace(EVENT, price=float("inf")), "price"),
        (msgspec.structs.replace(EVENT, currency="euro"), "currency"),
    ]:
        failure = rejection(codec, codec.encode(TOPIC, event))
        assert failure.reason is DeadLetterReason.INVALID_FIELD
        assert f"$.{says}" in str(failure)


def test_an_event_type_newer_than_the_reader_is_refused_by_name():
    schema = avro_schema(PrivacyRequest).replace('"erase"', '"forget_a_little"')
    codec, value = framed(schema, b"\x02r\x02u\x04\x02")
    failure = rejection(codec, value, PrivacyRequest)
    assert failure.reason is DeadLetterReason.INVALID_FIELD
    assert "forget_a_little" in str(failure)
    assert "$.action" in str(failure)


def test_a_reason_newer_than_the_reader_is_read_as_other():
    newer = avro_schema(Recommendation).replace('"similar_to"', '"bought_together"')
    client = registry()
    writer = AvroCodec(client)
    client.register_schema("any-value", Schema(newer, "AVRO"))
    # u, one item: its reason is symbol 1; then the rest of the message.
    data = b"\x02r\x02u\x02\x02i" + struct.pack("<d", 0.5) + b"\x02\x00\x00\x00\x00"
    data += b"\x02\x02e\x00\x00\x00\x00\x02m\x02v\x02\x02"
    decoded = writer.decoder(Recommendation)(b"\0\0\0\0\x01" + data)
    assert decoded.items[0].reason.kind is ReasonKind.OTHER
    assert decoded.items[0].score == 0.5


def test_a_foreign_schema_is_told_from_a_bad_record():
    codec, value = framed('{"type":"record","name":"Other","fields":[]}', b"")
    assert rejection(codec, value).reason is DeadLetterReason.INVALID_FIELD
    schema = avro_schema(PrivacyRequest).replace(
        '"type": "string"', '"type": {"type": "fixed", "name": "F", "size": 1}', 1
    )
    codec, value = framed(schema, b"r\x02u\x04\x02")
    failure = rejection(codec, value, PrivacyRequest)
    assert failure.reason is DeadLetterReason.INVALID_FIELD
    assert "request_id" in str(failure)


@pytest.mark.parametrize("kind", ["JSON", "PROTOBUF"])
def test_a_schema_of_another_kind_is_unknown(kind):
    client = registry()
    client.register_schema("any-value", Schema('{"type":"object"}', kind))
    failure = rejection(AvroCodec(client), b"\0\0\0\0\x01{}")
    assert failure.reason is DeadLetterReason.UNKNOWN_SCHEMA
    assert kind in str(failure)


def test_writers_may_split_their_schema_into_references():
    client = registry()
    action = '{"type":"enum","name":"PrivacyAction","symbols":["erase"]}'
    client.register_schema("action", Schema(action, "AVRO"))
    record = """{"type":"record","name":"PrivacyRequest","fields":[
        {"name":"request_id","type":{"type":"string","logicalType":"uuid"}},
        {"name":"user_id","type":"string"},
        {"name":"action","type":"PrivacyAction"},
        {"name":"time","type":"long"}]}"""
    reference = SchemaReference(name="PrivacyAction", subject="action", version=1)
    schema_id = client.register_schema("any-value", Schema(record, "AVRO", [reference]))
    value = struct.pack(">bI", 0, schema_id) + b"\x02r\x02u\x00\x04"
    decoded = AvroCodec(client).decoder(PrivacyRequest)(value)
    assert decoded == PrivacyRequest(request_id="r", user_id="u", action="erase", time=2)


def test_another_unit_of_time_is_refused_rather_than_misread():
    schema = avro_schema(PrivacyRequest).replace("timestamp-millis", "timestamp-micros")
    codec, value = framed(schema, b"\x02r\x02u\x04\x02")
    assert "$.time" in str(rejection(codec, value, PrivacyRequest))


@WITH_EACH_CODEC
@given(junk=st.binary(max_size=200), keep=st.integers(0, 70))
def test_no_bytes_make_a_decoder_raise_anything_else(codec, junk, keep):
    decode = codec.decoder(ClickstreamEvent)
    damaged = codec.encode(TOPIC, EVENT)[:keep] + junk
    try:
        decode(damaged)
    except DECODE_ERRORS as error:
        assert decode_error(error, damaged).reason in DeadLetterReason


@given(junk=st.binary(max_size=200))
def test_no_bytes_make_the_state_decoder_raise_anything_else(junk):
    with pytest.raises(DecodeError) as caught:
        decode_state(junk)
    assert caught.value.reason in (MALFORMED, INVALID_FIELD)


@WITH_EACH_CODEC
def test_a_message_that_cannot_be_encoded_names_itself(codec):
    wrong = msgspec.structs.replace(EVENT, item_id=object())
    with pytest.raises(CodecError, match="ClickstreamEvent for topic clickstream"):
        codec.encode(TOPIC, wrong)


def test_a_message_without_avro_schema_is_refused_by_name():
    with pytest.raises(LookupError, match="TrendingItem has no Avro schema"):
        AvroCodec(registry()).decoder(TrendingItem)


def test_the_settings_choose_the_codec():
    assert isinstance(build_codec(WireSettings()), JsonCodec)
    avro = WireSettings(format="avro", registry_url="mock://shared")
    value = build_codec(avro).encode(TOPIC, EVENT)
    # Both ends of a test's pipeline see one registry where they name the same one.
    assert build_codec(avro).decoder(ClickstreamEvent)(value) == EVENT


def test_a_registry_property_that_the_client_refuses_names_the_setting():
    wire = WireSettings(
        format="avro", registry_url="http://127.0.0.1:1", registry_properties={"colour": "red"}
    )
    with pytest.raises(SettingsError, match=r"wire\.registry_properties.*colour"):
        build_codec(wire)


def test_a_registry_address_is_needed_for_avro():
    with pytest.raises(SettingsError, match=r"wire\.registry_url"):
        build_codec(WireSettings.model_construct(format="avro", registry_url=None))


def test_json_needs_no_registry_client():
    # It takes a third of a second to import, and `innerloop --help` must not.
    import subprocess

    code = (
        "import sys; from schemas.codec import build_codec; "
        "from schemas.settings import WireSettings; build_codec(WireSettings()); "
        "sys.exit('confluent_kafka.schema_registry' in sys.modules)"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
