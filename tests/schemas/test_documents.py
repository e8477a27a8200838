"""The stored documents say what the types say, and what they say is valid and true."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from schemas.catalog import CatalogItem
from schemas.clickstream import ClickstreamEvent, Identifier
from schemas.documents import differences, message_documents, write_documents
from schemas.documents.avro import avro_document
from schemas.documents.docstrings import attribute_docs, class_doc
from schemas.documents.json_schema import json_schema_document
from schemas.message_types import (
    MESSAGES,
    WIRE_MESSAGES,
    avro_schema,
    json_schema_file,
    stored_documents,
)
from schemas.recommendations import ReasonKind

FOR_EACH_MESSAGE = pytest.mark.parametrize("message", MESSAGES, ids=lambda cls: cls.__name__)
FOR_EACH_WIRE_MESSAGE = pytest.mark.parametrize(
    "message", WIRE_MESSAGES, ids=lambda cls: cls.__name__
)
STORED = Path(str(stored_documents()))


def stored_json_schema(message: type) -> dict[str, Any]:
    return json.loads((STORED / json_schema_file(message)).read_text(encoding="utf-8"))


def stored_avro_schema(message: type) -> dict[str, Any]:
    return json.loads(avro_schema(message))


def test_the_stored_documents_are_what_the_types_say():
    assert differences(STORED) == [], "run `innerloop schemas`"


def test_a_document_missing_changed_or_stray_is_named(tmp_path):
    write_documents(tmp_path)
    assert differences(tmp_path) == []
    (tmp_path / "trending.avsc").unlink()
    (tmp_path / "asyncapi.yaml").write_text("asyncapi: 3.0.0\n")
    (tmp_path / "page_view.avsc").write_text("{}")
    assert differences(tmp_path) == [
        "asyncapi.yaml is not what the types say",
        "page_view.avsc describes no message",
        "trending.avsc is missing",
    ]
    assert len(differences(tmp_path / "nowhere")) == len(message_documents())


def bare(document: Any) -> Any:
    """Return a document without its prose, which a struct made in a test has no source for."""
    if isinstance(document, list | tuple):
        return [bare(part) for part in document]
    if not isinstance(document, dict):
        return document
    return {
        key: bare(part)
        for key, part in document.items()
        if not (key in ("description", "doc") and isinstance(part, str))
    }


def changed(message: type[msgspec.Struct], **changes: Any) -> type[msgspec.Struct]:
    """Return a copy of a message type; a change is a type, (type, default), or None to remove."""
    fields: dict[str, Any] = {}
    for field in msgspec.structs.fields(message):
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = msgspec.field(default_factory=field.default_factory)
        fields[field.name] = (field.type, default) if not field.required else (field.type,)
    for name, change in changes.items():
        fields.pop(name) if change is None else fields.update({name: change})
    definition = [(name, *parts) for name, parts in fields.items()]
    return msgspec.defstruct(message.__name__, definition, kw_only=True)


@FOR_EACH_WIRE_MESSAGE
def test_a_faithful_copy_of_a_type_has_the_stored_documents(message):
    copy = changed(message)
    rules = ("if", "then", "else")  # of ClickstreamEvent's own, not read off its fields
    stored = {k: part for k, part in stored_json_schema(message).items() if k not in rules}
    assert bare(json_schema_document(copy)) == bare(stored)
    assert bare(avro_document(copy)) == bare(stored_avro_schema(message))


Surface = enum.StrEnum("Surface", ["home", "search"])


@pytest.mark.parametrize(
    "changes",
    [
        {"locale": (str | None, None)},
        {"locale": (str,)},
        {"available": None},
        {"available": (bool, False)},
        {"available": (bool,)},
        {"price": (float | None, 1.0)},
        {"price": (str | None, None)},
        {"brand": (Surface | None, None)},
        {"categories": (dict[str, str], msgspec.field(default_factory=dict))},
        {"item_id": (int,)},
    ],
)
def test_no_field_changes_without_its_documents(changes):
    altered = changed(CatalogItem, **changes)
    assert bare(json_schema_document(altered)) != bare(stored_json_schema(CatalogItem))
    assert bare(avro_document(altered)) != bare(stored_avro_schema(CatalogItem))


def test_no_limit_changes_without_its_document():
    altered = changed(CatalogItem, title=(Identifier, ""))
    assert bare(json_schema_document(altered)) != bare(stored_json_schema(CatalogItem))


def test_prose_comes_from_the_source():
    assert "query" in class_doc(ClickstreamEvent)
    assert attribute_docs(CatalogItem)["categories"].startswith("The category path")
    assert "similar_to: Closest" in class_doc(ReasonKind)
    assert stored_json_schema(CatalogItem)["properties"]["categories"]["description"]
    fields = {field["name"]: field for field in stored_avro_schema(CatalogItem)["fields"]}
    assert fields["categories"]["doc"] == attribute_docs(CatalogItem)["categories"]


@FOR_EACH_MESSAGE
def test_json_schemas_are_valid(message):
    schema = stored_json_schema(message)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert schema["title"] == message.__name__
    assert schema["description"]


def test_json_schema_ids_are_urns_of_their_own():
    ids = {stored_json_schema(message)["$id"] for message in MESSAGES}
    assert len(ids) == len(MESSAGES)
    assert all(name.startswith("urn:innerloop:message:") for name in ids)


@FOR_EACH_MESSAGE
@given(data=st.data())
def test_every_message_is_valid_by_its_json_schema(message, messages_of, data):
    encoded = msgspec.json.encode(data.draw(messages_of(message)))
    Draft202012Validator(stored_json_schema(message)).validate(json.loads(encoded))


# 1.0 is an integer to JSON Schema and a float to the decoder, so no float here is whole.
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-1, 6).map(lambda n: n + 0.5),
    st.sampled_from(["", "view", "search", "USD", "US", "x" * 129, "x" * 3000]),
    st.lists(st.text(max_size=2), max_size=2),
    st.dictionaries(st.text(max_size=2), st.text(max_size=2), max_size=2),
)


@FOR_EACH_WIRE_MESSAGE
@given(data=st.data())
def test_a_json_schema_accepts_exactly_what_the_type_accepts(message, messages_of, data):
    document = json.loads(msgspec.json.encode(data.draw(messages_of(message))))
    names = [field.name for field in msgspec.structs.fields(message)]
    for name in data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=3)):
        if data.draw(st.booleans()):
            document.pop(name, None)
        else:
            document[name] = data.draw(ANYTHING)
    try:
        msgspec.json.decode(json.dumps(document), type=message)
        accepted = True
    except msgspec.ValidationError:
        accepted = False
    assert Draft202012Validator(stored_json_schema(message)).is_valid(document) is accepted


@FOR_EACH_WIRE_MESSAGE
def test_avro_schemas_are_valid_and_documented(message):
    schema = stored_avro_schema(message)
    parsed = fastavro.parse_schema(schema)
    assert parsed["name"] == f"innerloop.{message.__name__}"
    assert schema["doc"] == class_doc(message)
    assert [field["name"] for field in schema["fields"]] == list(message.__struct_fields__)


@FOR_EACH_WIRE_MESSAGE
@given(data=st.data())
def test_every_message_is_valid_by_its_avro_schema(message, messages_of, data):
    record = msgspec.to_builtins(data.draw(messages_of(message)))
    parsed = fastavro.parse_schema(stored_avro_schema(message))
    assert fastavro.validate(record, parsed, raise_errors=True)
