"""A message type as an Avro schema."""

from __future__ import annotations

import enum
from typing import Any

import msgspec
from msgspec import inspect

from schemas.documents.docstrings import attribute_docs, class_doc
from schemas.recommendations import ReasonEvent, ReasonKind

Schema = str | list[Any] | dict[str, Any]

NAMESPACE = "innerloop"

# The symbol that stands for one the reader does not know yet. Only where guessing does no harm: an
# unknown event type or privacy action must not be taken for a known one, so those have none.
_ENUM_DEFAULTS: dict[type, enum.StrEnum] = {
    ReasonKind: ReasonKind.OTHER,
    ReasonEvent: ReasonEvent.OTHER,
}

_PRIMITIVES: dict[type, str] = {
    inspect.StrType: "string",
    inspect.IntType: "long",
    inspect.FloatType: "double",
    inspect.BoolType: "boolean",
    inspect.BytesType: "bytes",
    inspect.NoneType: "null",
}


def avro_document(message: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the message's Avro schema: a record in the namespace `innerloop`.

    Fields with a default in the type have it in the schema, so a reader fills what an older writer
    left out; times are `timestamp-millis`.

    Raises:
        TypeError: a field's type has no counterpart here.
    """
    (struct,) = inspect.multi_type_info([message])
    assert isinstance(struct, inspect.StructType)
    return _record(struct, named=set())


def _schema(kind: inspect.Type, named: set[type]) -> Schema:
    """Return the schema of a type; a struct or enum already in `named` is referred to by name."""
    schema: Schema
    match kind:
        case inspect.StructType(cls=cls) | inspect.EnumType(cls=cls) if cls in named:
            schema = cls.__name__
        case inspect.StructType():
            schema = _record(kind, named)
        case inspect.EnumType(cls=cls):
            schema = _enum(cls, named)
        case inspect.Metadata(type=inner, extra=extra):
            schema = _schema(inner, named)
            if extra and "logicalType" in extra:
                schema = {"type": schema, "logicalType": extra["logicalType"]}
        case inspect.UnionType(types=types):
            # A union's default is of its first branch, and every optional field defaults to null.
            branches = sorted(types, key=lambda branch: not isinstance(branch, inspect.NoneType))
            schema = [_schema(branch, named) for branch in branches]
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            schema = {"type": "array", "items": _schema(item, named)}
        case inspect.DictType(value_type=value):
            schema = {"type": "map", "values": _schema(value, named)}
        case _ if type(kind) in _PRIMITIVES:
            schema = _PRIMITIVES[type(kind)]
        case _:
            raise TypeError(f"no Avro type is defined here for {type(kind).__name__}")
    return schema


def _record(kind: inspect.StructType, named: set[type]) -> dict[str, Any]:
    outermost = not named
    named.add(kind.cls)
    docs = attribute_docs(kind.cls)
    fields = []
    for field in kind.fields:
        entry: dict[str, Any] = {"name": field.encode_name, "type": _schema(field.type, named)}
        if field.name in docs:
            entry["doc"] = docs[field.name]
        if not field.required:
            entry["default"] = _default(field)
        fields.append(entry)
    return {
        "type": "record",
        "name": kind.cls.__name__,
        **({"namespace": NAMESPACE} if outermost else {}),
        "doc": class_doc(kind.cls),
        "fields": fields,
    }


def _enum(cls: type[enum.Enum], named: set[type]) -> dict[str, Any]:
    named.add(cls)
    schema = {
        "type": "enum",
        "name": cls.__name__,
        "doc": class_doc(cls),
        "symbols": [member.value for member in cls],
    }
    if cls in _ENUM_DEFAULTS:
        schema["default"] = _ENUM_DEFAULTS[cls].value
    return schema


def _default(field: inspect.Field) -> object:
    if field.default is not msgspec.NODEFAULT:
        return msgspec.to_builtins(field.default)
    return msgspec.to_builtins(field.default_factory())
