"""A user's adapted state, as the worker keeps it in the compacted `user-state` changelog."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

import msgspec

from schemas.clickstream import EVENT_TYPE_INDEX, EpochMillis, EventType, Identifier

LAYOUT_VERSION = 2
"""Of the records written now."""

FIRST_LAYOUT = 1

EVENT_KEY_BYTES = 8
_AGE_BYTES = (4, 8)


def event_key(event_id: str) -> int:
    """Return what stands for an event id in a user's state: 64 bits of its BLAKE2b digest.

    Two of a user's events meet by chance with probability 2⁻⁶⁴.
    """
    digest = hashlib.blake2b(event_id.encode(), digest_size=EVENT_KEY_BYTES).digest()
    return int.from_bytes(digest, "little")


class RecentEvents(msgspec.Struct, frozen=True, array_like=True):
    """A user's latest events, n of them, oldest first, a column each.

    Enough to drop their duplicates, to give reasons, and to adapt again from them.
    """

    keys: bytes = b""
    """`event_key` of each, little-endian uint64 (n,)."""
    types: bytes = b""
    """Place of each type in `EventType`, uint8 (n,)."""
    ages: bytes = b""
    """Milliseconds from each event's time to the state's `active`: little-endian uint32 (n,), or
    uint64 where that is too short."""
    items: list[Identifier | None] = []
    """Item of each, if it has one."""
    queries: dict[int, str] = {}
    """Search queries, by the event's place."""

    def __post_init__(self) -> None:
        n = len(self.items)
        if len(self.types) != n or len(self.keys) != EVENT_KEY_BYTES * n:
            raise ValueError("the columns of `recent` differ in length")
        if len(self.ages) not in (_AGE_BYTES[0] * n, _AGE_BYTES[1] * n):
            raise ValueError("`ages` of `recent` has a wrong length")
        if max(self.types, default=0) >= len(EVENT_TYPE_INDEX):
            raise ValueError("`types` of `recent` names an unknown event type")
        if self.queries and not all(0 <= place < n for place in self.queries):
            raise ValueError("`queries` of `recent` names a place that it does not have")

    def event_keys(self) -> tuple[int, ...]:
        """Return `event_key` of each event."""
        return struct.unpack(f"<{len(self.items)}Q", self.keys)

    def times(self, active: int) -> list[int]:
        """Return the time of each event, given the state's `active`, milliseconds."""
        n = len(self.items)
        width = "I" if len(self.ages) == _AGE_BYTES[0] * n else "Q"
        return [active - age for age in struct.unpack(f"<{n}{width}", self.ages)]


class UserState(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A user's adapted state. Key of the `user-state` topic: `user_id`; a null value erases.

    `partition` and `offset` name the last `clickstream` record applied: a record at or before that
    offset of that partition is already in the state. The record is MessagePack, the fields in an
    array (the JSON Schema describes the same with byte strings in base64).
    """

    version: int
    """Of this layout."""
    user_id: Identifier
    partition: int
    offset: int
    events_seen: int
    last_time: EpochMillis
    """Latest time of an event that the model learned from; 0 if there was none."""
    active: EpochMillis
    """Latest time of any event."""
    model_version: str
    arrays: bytes
    """Session encoder state, fast weight b and fast weight A, rounded: `worker.state.compact`. In
    layout 1 they are little-endian float32, one after the other."""
    recent: RecentEvents


class SupportEvent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One of a user's latest events, in layout 1."""

    event_id: Identifier
    type: EventType
    time: EpochMillis
    item_id: Identifier | None = None
    query: str | None = None


class FirstUserState(msgspec.Struct, frozen=True, kw_only=True):
    """Layout 1 of a user's state, a MessagePack map; the arrays are little-endian float32."""

    version: int
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

    def upgraded(self) -> UserState:
        """Return the state in today's fields; `version` still says how the arrays are laid out."""
        events = self.recent
        active = max([self.last_time, *(event.time for event in events)])
        queries = {i: event.query for i, event in enumerate(events) if event.query is not None}
        return UserState(
            version=self.version,
            user_id=self.user_id,
            partition=self.partition,
            offset=self.offset,
            events_seen=self.events_seen,
            last_time=self.last_time,
            active=active,
            model_version=self.model_version,
            arrays=self.hidden + self.fast_bias + self.fast_adapter,
            recent=recent_events(
                keys=[event_key(event.event_id) for event in events],
                types=[EVENT_TYPE_INDEX[event.type] for event in events],
                times=[event.time for event in events],
                items=[event.item_id for event in events],
                queries=queries,
                active=active,
            ),
        )


def recent_events(
    *,
    keys: Sequence[int],
    types: Sequence[int],
    times: Sequence[int],
    items: list[str | None],
    queries: dict[int, str],
    active: int,
) -> RecentEvents:
    """Return events as they are stored; `times` are milliseconds, none later than `active`."""
    n = len(keys)
    ages = [active - time for time in times]
    wide = n and max(ages) >> 32
    return RecentEvents(
        keys=struct.pack(f"<{n}Q", *keys),
        types=bytes(types),
        ages=struct.pack(f"<{n}{'Q' if wide else 'I'}", *ages),
        items=items,
        queries=queries,
    )
