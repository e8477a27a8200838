"""Which messages there are, what they are encoded in, and where their descriptions are stored."""

from __future__ import annotations

import re
from importlib import resources
from importlib.resources.abc import Traversable

import msgspec

from schemas.item_transitions import ItemTransitions
from schemas.model_rollout import ModelRollout
from schemas.topics import TOPIC_SPECS
from schemas.user_state import UserState

MESSAGES: tuple[type[msgspec.Struct], ...] = tuple(
    spec.message for spec in TOPIC_SPECS.values() if spec.message is not None
)
"""Every message type; `clickstream.dlq` has none: it carries other topics' bytes."""

INTERNAL_MESSAGES: tuple[type[msgspec.Struct], ...] = (UserState, ItemTransitions, ModelRollout)
"""Messages to and between workers, in a format of their own whatever the settings: `UserState` is
always MessagePack, the others are always JSON."""

WIRE_MESSAGES: tuple[type[msgspec.Struct], ...] = tuple(
    message for message in MESSAGES if message not in INTERNAL_MESSAGES
)
"""Messages in the wire format of the settings, JSON or Avro."""


def file_stem(message: type) -> str:
    """Return the name, without suffix, of the files that describe a message: its snake case."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", message.__name__).lower()


def json_schema_file(message: type) -> str:
    """Return the name of the message's JSON Schema in `schemas/files`."""
    return f"{file_stem(message)}.schema.json"


def avro_schema_file(message: type) -> str:
    """Return the name of the message's Avro schema in `schemas/files`."""
    return f"{file_stem(message)}.avsc"


def stored_documents() -> Traversable:
    """Return the folder `schemas/files` of this installation."""
    return resources.files("schemas") / "files"


def avro_schema(message: type) -> str:
    """Return the message's stored Avro schema as JSON text.

    Raises:
        LookupError: the message is none of `WIRE_MESSAGES`.
    """
    if message not in WIRE_MESSAGES:
        known = ", ".join(known.__name__ for known in WIRE_MESSAGES)
        raise LookupError(f"{message.__name__} has no Avro schema; these have: {known}")
    return (stored_documents() / avro_schema_file(message)).read_text(encoding="utf-8").strip()
