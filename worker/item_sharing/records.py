"""Records of `item-transitions`: their keys, and reading them without trusting them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import msgspec
from confluent_kafka import Message

from schemas.codec import DECODE_ERRORS, decode_transitions
from schemas.errors import DecodeError
from schemas.item_transitions import BLOCK_OFFSETS, LAYOUT_VERSION, ItemTransitions
from worker.metrics import TransitionRecord


class _Versioned(msgspec.Struct):
    version: int


_decode_version = msgspec.json.Decoder(_Versioned).decode


@dataclass(frozen=True)
class Unusable:
    """Why a record cannot be used."""

    result: TransitionRecord
    text: str
    """For a person; holds no id."""


def record_key(partition: int, block: int, ring: int) -> bytes:
    """Return the key of a block's record: its place in a ring of `ring` blocks."""
    return f"{partition}/{block % ring}".encode()


def read_record(message: Message) -> ItemTransitions | Unusable:
    """Return the block in a record, or what is wrong with the record."""
    value = message.value() or b""
    try:
        record = decode_transitions(value)
    except DecodeError as error:
        version = _version(value)
        if version is None or version == LAYOUT_VERSION:
            return Unusable(TransitionRecord.MALFORMED, str(error))
        return _other_version(version)
    if record.version != LAYOUT_VERSION:
        return _other_version(record.version)
    problem = _inconsistency(record, message)
    return record if problem is None else Unusable(TransitionRecord.INCONSISTENT, problem)


def _inconsistency(record: ItemTransitions, message: Message) -> str | None:
    if record.partition != message.partition():
        return "its partition is not the one it lies in"
    offsets = [event.offset for event in record.events]
    if any(offset // BLOCK_OFFSETS != record.block for offset in offsets):
        return "an offset is not of its block"
    if any(offset <= last for last, offset in pairwise(offsets)):
        return "its offsets do not ascend"
    return None


def _version(value: bytes) -> int | None:
    try:
        return _decode_version(value).version
    except DECODE_ERRORS:
        return None


def _other_version(version: int) -> Unusable:
    return Unusable(
        TransitionRecord.OTHER_VERSION,
        f"`version` is {version}; this worker reads {LAYOUT_VERSION}",
    )
