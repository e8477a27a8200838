"""A user's adapted state, as the worker keeps it in the compacted `user-state` changelog."""

from __future__ import annotations

import msgspec

from schemas.clickstream import EpochMillis, EventType, Identifier


class SupportEvent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One of a user's latest events: enough to drop its duplicate and to adapt again from it."""

    event_id: Identifier
    type: EventType
    time: EpochMillis
    item_id: Identifier | None = None
    query: str | None = None


class UserState(msgspec.Struct, frozen=True, kw_only=True):
    """A user's adapted state. Key of the `user-state` topic: `user_id`; a null value erases.

    `partition` and `offset` name the last `clickstream` record applied: a record at or before that
    offset of that partition is already in the state. The record is MessagePack (the JSON Schema
    describes the same fields with byte strings in base64); the arrays are little-endian float32.
    """

    version: int
    """Of this layout."""
    user_id: Identifier
    partition: int
    offset: int
    events_seen: int
    last_time: EpochMillis
    model_version: str
    hidden: bytes
    """Session encoder state, float32 (dim,)."""
    fast_bias: bytes
    """Fast weight b, float32 (dim,)."""
    fast_adapter: bytes
    """Fast weight A, float32 (dim, rank), row-major."""
    recent: list[SupportEvent]
    """Latest events, oldest first."""
