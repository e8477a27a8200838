"""Records of the `privacy` topic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import Message

from schemas.codec import DECODE_ERRORS, decode_error
from schemas.privacy import PrivacyRequest
from worker.stages.decode import position, record_time

Decode = Callable[[bytes], PrivacyRequest]


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
