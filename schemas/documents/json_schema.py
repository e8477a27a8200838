"""A message type as JSON Schema, draft 2020-12."""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from schemas.clickstream import ClickstreamEvent, EventType
from schemas.documents.docstrings import attribute_docs, class_doc
from schemas.message_types import file_stem

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_RULES: dict[type, dict[str, Any]] = {
    # What `ClickstreamEvent.__post_init__` checks.
    ClickstreamEvent: {
        "if": {"properties": {"type": {"const": EventType.SEARCH.value}}},
        "then": {"required": ["query"], "properties": {"query": {"type": "string"}}},
        "else": {"required": ["item_id"], "properties": {"item_id": {"type": "string"}}},
    }
}


def schema_id(message: type) -> str:
    """Return the `$id` of a message's JSON Schema, a URN."""
    return f"urn:innerloop:message:{file_stem(message).replace('_', '-')}"


def json_schema_document(message: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the message's JSON Schema; unknown fields are allowed, as the decoders allow them."""
    _, components = msgspec.json.schema_components([message], ref_template="#/$defs/{name}")
    for cls in _described_classes(message):
        _describe(components[cls.__name__], cls)
    top = components.pop(message.__name__)
    document = {"$schema": DIALECT, "$id": schema_id(message), **top, **_RULES.get(message, {})}
    if components:
        document["$defs"] = components
    return document


def _describe(schema: dict[str, Any], cls: type) -> None:
    # Keeps title and description in front of the rest, where a reader looks for them.
    rest = {key: part for key, part in schema.items() if key not in ("title", "description")}
    schema.clear()
    schema.update(title=cls.__name__, description=class_doc(cls), **rest)
    if issubclass(cls, enum.Enum):
        return
    for name, text in attribute_docs(cls).items():
        if name in schema.get("properties", {}):
            schema["properties"][name] = {"description": text, **schema["properties"][name]}


def _described_classes(message: type) -> list[type]:
    """Return the message and every struct and enum inside it."""
    found: dict[type, None] = {}

    def visit(kind: object) -> None:
        match kind:
            case msgspec.inspect.StructType(cls=cls, fields=fields):
                found[cls] = None
                for field in fields:
                    visit(field.type)
            case msgspec.inspect.EnumType(cls=cls):
                found[cls] = None
            case msgspec.inspect.Metadata(type=inner):
                visit(inner)
            case msgspec.inspect.UnionType(types=types):
                for member in types:
                    visit(member)
            case (
                msgspec.inspect.ListType(item_type=inner)
                | msgspec.inspect.VarTupleType(item_type=inner)
            ):
                visit(inner)
            case msgspec.inspect.DictType(key_type=key, value_type=value):
                visit(key)
                visit(value)

    visit(msgspec.inspect.type_info(message))
    return list(found)
