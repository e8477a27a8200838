"""The Schema Registry: its client, and the Avro schemas that it keeps."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping

import fastavro
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError

# The client uses httpx2 where that is installed, else httpx: its errors are those of the one taken.
from confluent_kafka.schema_registry.common._httpx_compat import httpx
from confluent_kafka.schema_registry.error import OAuthTokenError
from fastavro.schema import SchemaParseException, UnknownType
from fastavro.types import NamedSchemas
from fastavro.types import Schema as AvroSchema

from schemas.dead_letter import DeadLetterReason
from schemas.errors import DecodeError, RegistryError, SettingsError

REGISTRY_ERRORS = (SchemaRegistryError, OAuthTokenError, httpx.HTTPError, json.JSONDecodeError)
"""What the client raises when the registry cannot be reached, refuses or is something else."""

_TIMEOUT_SECONDS = 10
# Of the answers about a schema id, those that say that the id, not the registry, is at fault.
_BAD_ID_STATUSES = (400, 404, 422)
# Logical types that the messages carry in their raw form; any other reaches the type check as the
# Python object it stands for and fails there by name, rather than being taken for milliseconds.
_RAW_LOGICAL_TYPES = ("timestamp-millis", "uuid")


def registry_client(
    url: str, properties: Mapping[str, str | int | float | bool]
) -> SchemaRegistryClient:
    """Return a client of the registry at `url`.

    An address `mock://name` is a registry in this process's memory, one for each name: for tests.

    Raises:
        SettingsError: the address or a property is not what the client takes.
    """
    if url.startswith("mock://"):
        return _mock_client(url)
    try:
        return SchemaRegistryClient.new_client(
            {"timeout": _TIMEOUT_SECONDS, **properties, "url": url}
        )
    except (ValueError, TypeError, OSError) as error:
        raise SettingsError(f"wire.registry_url or wire.registry_properties: {error}") from None


@functools.cache
def _mock_client(url: str) -> SchemaRegistryClient:
    return SchemaRegistryClient.new_client({"url": url})


def fetch_schema(registry: SchemaRegistryClient, schema_id: int) -> AvroSchema:
    """Return the Avro schema with that id, parsed, the schemas that it refers to included.

    Raises:
        DecodeError: there is none; the record that names it is at fault.
        RegistryError: the registry cannot be reached or refuses.
    """
    try:
        texts = _schema_texts(registry, registry.get_schema(schema_id))
    except SchemaRegistryError as error:
        if error.http_status_code in _BAD_ID_STATUSES:
            raise _unknown_schema(f"the schema registry has no schema {schema_id}") from error
        raise _no_answer(schema_id, error) from error
    except REGISTRY_ERRORS as error:
        raise _no_answer(schema_id, error) from error
    named: NamedSchemas = {}
    parsed: AvroSchema = []
    try:
        for text in texts:
            parsed = parse_schema(text, named)
    except (SchemaParseException, UnknownType, ValueError) as error:
        raise _unknown_schema(f"schema {schema_id} is not valid Avro: {error}") from error
    return parsed


def parse_schema(text: str, named: NamedSchemas | None = None) -> AvroSchema:
    """Parse an Avro schema, without the logical types that the messages carry in raw form."""
    plain = _without_logical_types(json.loads(text))
    return fastavro.parse_schema(plain, named_schemas={} if named is None else named)


def _schema_texts(registry: SchemaRegistryClient, schema: Schema) -> list[str]:
    """Return a schema's text, preceded by those that it refers to; each once."""
    if schema.schema_type != "AVRO":
        raise _unknown_schema(f"the value's schema is {schema.schema_type}, not AVRO")
    texts: dict[str, None] = {}
    for reference in schema.references or []:
        target = registry.get_version(str(reference.subject), int(reference.version or 0))
        texts |= dict.fromkeys(_schema_texts(registry, target.schema))
    return [*texts, schema.schema_str or ""]


def _without_logical_types(schema: AvroSchema) -> AvroSchema:
    if isinstance(schema, list):
        return [_without_logical_types(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    raw = schema.get("logicalType") in _RAW_LOGICAL_TYPES
    return {
        key: _without_logical_types(part)
        for key, part in schema.items()
        if not (raw and key == "logicalType")
    }


def _unknown_schema(message: str) -> DecodeError:
    return DecodeError(message, DeadLetterReason.UNKNOWN_SCHEMA)


def _no_answer(schema_id: int, error: Exception) -> RegistryError:
    return RegistryError(f"the schema registry did not give schema {schema_id}: {error}")
