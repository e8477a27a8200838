"""Avro in Confluent Schema-Registry framing: a zero byte, the schema id (4 bytes), the Avro data.

Values are read with the schema they were written with, resolved to this installation's own, and
then checked against the message type exactly as JSON is. Encoding is the registry library's
serializer. Decoding is not: it costs 27 µs an event there (rule hooks, and its reader schema
expanded for each value) and 7 µs here, on the same core.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Generic

import fastavro
import msgspec
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from fastavro.read import SchemaResolutionError
from fastavro.schema import to_parsing_canonical_form
from fastavro.types import AvroMessage
from fastavro.types import Schema as AvroSchema

from schemas.codec import MessageT, encode_error
from schemas.dead_letter import DeadLetterReason
from schemas.errors import DecodeError, RegistryError
from schemas.message_types import avro_schema
from schemas.schema_registry import REGISTRY_ERRORS, fetch_schema, parse_schema

_MAGIC = 0
_HEADER_BYTES = 5
# What damaged data makes fastavro raise, by its own fuzz and the one in the tests.
_READ_ERRORS = (EOFError, IndexError, ValueError, TypeError, OverflowError, MemoryError, KeyError)


class AvroCodec:
    """Avro against a schema registry. Subjects are `<topic>-value`.

    Args:
        registry: client of the registry, or of its `mock://` stand-in.
        auto_register: register a message's schema on first use; else it must be registered.
    """

    def __init__(self, registry: SchemaRegistryClient, *, auto_register: bool = True) -> None:
        self._registry = registry
        self._auto_register = auto_register
        self._serializers: dict[tuple[str, type], Callable[[msgspec.Struct], bytes]] = {}

    def encode(self, topic: str, message: msgspec.Struct) -> bytes:
        """Return the message in Avro, framed; see `Codec.encode`."""
        key = (topic, type(message))
        serialize = self._serializers.get(key)
        if serialize is None:
            serialize = self._serializers[key] = self._serializer(topic, type(message))
        try:
            return serialize(message)
        except REGISTRY_ERRORS as error:
            hint = "" if self._auto_register else "; register it first, or set wire.auto_register"
            raise RegistryError(
                f"the schema registry gave no id for the subject {topic}-value: {error}{hint}"
            ) from error
        except (ValueError, TypeError, OverflowError, struct.error) as error:
            raise encode_error(topic, message, error) from error

    def decoder(self, message: type[MessageT]) -> Callable[[bytes], MessageT]:
        """Return the decoder of framed Avro; see `Codec.decoder`.

        Raises:
            LookupError: the message has no Avro schema.
        """
        return _Reader(self._registry, message).decode

    def _serializer(self, topic: str, message: type) -> Callable[[msgspec.Struct], bytes]:
        serializer = AvroSerializer(
            self._registry,
            avro_schema(message),
            conf={
                "auto.register.schemas": self._auto_register,
                "subject.name.strategy.type": "TOPIC",
            },
        )
        context = SerializationContext(topic, MessageField.VALUE)

        def serialize(value: msgspec.Struct) -> bytes:
            encoded: bytes = serializer(msgspec.to_builtins(value), context)
            return encoded

        return serialize


class _Reader(Generic[MessageT]):
    """Reads one message type, whichever schemas its values were written with."""

    def __init__(self, registry: SchemaRegistryClient, message: type[MessageT]) -> None:
        self._registry = registry
        self._message = message
        self._own = parse_schema(avro_schema(message))
        # First bytes of a value → (writer's schema, own schema or None where the two agree).
        self._schemas: dict[bytes, tuple[AvroSchema, AvroSchema | None]] = {}

    def decode(self, value: bytes) -> MessageT:
        """Return the message in a framed value."""
        schemas = self._schemas.get(value[:_HEADER_BYTES])
        if schemas is None:
            schemas = self._learn_schemas(value)
        writer, reader = schemas
        try:
            return msgspec.convert(_read(value, writer, reader), self._message)
        except SchemaResolutionError as error:
            # Read as it was written, the value can tell which field is at fault.
            msgspec.convert(_read(value, writer, None), self._message)
            raise DecodeError(
                f"its schema cannot be read as that of {self._message.__name__}: {error}",
                DeadLetterReason.UNKNOWN_SCHEMA,
            ) from error

    def _learn_schemas(self, value: bytes) -> tuple[AvroSchema, AvroSchema | None]:
        writer = fetch_schema(self._registry, _schema_id(value))
        same = to_parsing_canonical_form(writer) == to_parsing_canonical_form(self._own)
        schemas = (writer, None if same else self._own)
        self._schemas[value[:_HEADER_BYTES]] = schemas
        return schemas


def _schema_id(value: bytes) -> int:
    if not value:
        raise DecodeError("the value is empty", DeadLetterReason.EMPTY_VALUE)
    if value[0] != _MAGIC or len(value) < _HEADER_BYTES:
        raise _malformed(
            "the value is not in Schema-Registry framing: byte 0, then the schema id in 4 bytes"
        )
    return int.from_bytes(value[1:_HEADER_BYTES], "big")


def _read(value: bytes, writer: AvroSchema, reader: AvroSchema | None) -> AvroMessage:
    """Return the Avro data of a framed value as dicts, lists, numbers and strings."""
    stream = io.BytesIO(value)
    stream.seek(_HEADER_BYTES)
    try:
        data = fastavro.schemaless_reader(stream, writer, reader)
    except UnicodeDecodeError as error:
        raise DecodeError(
            f"invalid UTF-8 in a string: {error.reason}", DeadLetterReason.INVALID_UTF8
        ) from error
    except _READ_ERRORS as error:
        raise _malformed(f"the Avro data is damaged: {type(error).__name__} {error}") from error
    left = len(value) - stream.tell()
    if left:
        raise _malformed(f"{left} bytes are left over after the Avro data")
    return data


def _malformed(message: str) -> DecodeError:
    return DecodeError(message, DeadLetterReason.MALFORMED)
