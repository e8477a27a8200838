"""Records of the `privacy` topic."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from confluent_kafka import Message

from schemas.codec import DECODE_ERRORS, decode_error
from schemas.privacy import REQUEST_HEADER, PrivacyRequest, RequestNote
from worker.stages.decode import position, record_time

_TOLD_AT_ONCE = 3

Decode = Callable[[bytes], PrivacyRequest]
Headers = Mapping[str, bytes] | Iterable[tuple[str, bytes]] | None


@dataclass(frozen=True)
class PlacedRequest:
    """A request, and where it stands in the topic."""

    request: PrivacyRequest
    partition: int
    offset: int
    time_ms: int
    """When it was made, milliseconds since the epoch: no later than its record's timestamp. A clock
    that is ahead must not bar what its user does afterwards."""


@dataclass(frozen=True)
class Lifted:
    """There are no requests of a user any more: the record's value is null."""

    user_id: str


def read_request(message: Message, decode: Decode) -> PlacedRequest | Lifted | str:
    """Return what a record says, or what is wrong with it, in words without any id."""
    key, value = message.key(), message.value()
    try:
        user_id = (key or b"").decode()
    except UnicodeDecodeError:
        return "its key is not UTF-8"
    if not user_id:
        return "its key is empty; it must be the user_id"
    if value is None:
        return Lifted(user_id)
    try:
        request = decode(value)
    except DECODE_ERRORS as error:
        return str(decode_error(error, value))
    if request.user_id != user_id:
        return "its key is not its user_id"
    partition, offset = position(message)
    published = record_time(message)
    time_ms = min(request.time, published) if published > 0 else request.time
    return PlacedRequest(request, partition, offset, time_ms)


def place_of(message: Message) -> str:
    """Return where a record stands, in words."""
    return f"partition {message.partition()}, offset {message.offset()}"


def log_unreadable(log: logging.Logger, problems: Sequence[str]) -> None:
    """Log what was wrong with requests that were read together: of many, some, and how many."""
    for problem in problems[:_TOLD_AT_ONCE]:
        log.error("a privacy request cannot be read, and so is not carried out: %s", problem)
    if len(problems) > _TOLD_AT_ONCE:
        log.error("%d more like it", len(problems) - _TOLD_AT_ONCE)


_encode_note = msgspec.json.Encoder().encode
_decode_note = msgspec.json.Decoder(RequestNote).decode


def note_of(placed: PlacedRequest) -> tuple[str, bytes]:
    """Return the header that says which request a null value is because of."""
    request = placed.request
    note = RequestNote(
        request_id=request.request_id,
        action=request.action,
        time=request.time,
        partition=placed.partition,
        offset=placed.offset,
    )
    return REQUEST_HEADER, _encode_note(note)


def noted_request(headers: Headers) -> RequestNote | None:
    """Return which request a record with these headers is because of; None where none says so."""
    value = dict(headers or {}).get(REQUEST_HEADER)
    if not isinstance(value, bytes):
        return None
    try:
        return _decode_note(value)
    except DECODE_ERRORS:
        return None
