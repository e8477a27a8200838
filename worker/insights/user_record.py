"""What is kept of a user: the latest recommendations, what they led to, and the sums by day.

It is one value under one key, with the last applied offset of each source topic in it. So a record
that is read again after a crash meets a value that says whether it is in there already, and no two
values can disagree about it.
"""

from __future__ import annotations

import enum
import zlib

import msgspec
import xxhash

from worker.insights.indicators import DayVariant, Sums

_FASTEST = 1
_SEEN = 32
"""Events of a user among which copies are told, as by the worker's default."""


class Led(enum.IntFlag):
    """What a recommendation led to, at least once."""

    NOTHING = 0
    CLICK = 1
    CART = 2
    PURCHASE = 4


class KeptRecommendation(msgspec.Struct, array_like=True):
    """A recommendation, as far as it matters here."""

    id: str
    time: int
    """`event_time`."""
    variant: str
    items: list[str]
    led: int = 0
    """Flags of `Led`."""
    revenue: dict[str, float] = {}
    """By currency."""


class UserRecord(msgspec.Struct, array_like=True):
    """One user. Changed by `worker.insights.attribution` alone."""

    partition: int
    """Of the source topics: a store in memory keeps values of partitions that went away."""
    events_offset: int = -1
    """Of the last event applied."""
    recommendations_offset: int = -1
    """Of the last recommendation applied."""
    latest: int = 0
    """Latest time of an event, milliseconds."""
    recommendations: list[KeptRecommendation] = []
    """By `time`, and among equals by offset."""
    seen: list[tuple[int, int]] = []
    """Of the latest events, a hash of the id and the offset: to tell copies."""
    days: dict[str, Sums] = {}
    """By `day_key`."""

    @property
    def newest(self) -> int:
        """Latest time of an event or a recommendation, milliseconds."""
        kept = self.recommendations
        return max(self.latest, kept[-1].time if kept else 0)

    @property
    def is_blank(self) -> bool:
        """Whether nothing is known of the user: there is nothing to be kept."""
        return not (self.latest or self.recommendations or self.seen or self.days)

    def is_copy(self, event_id: str, offset: int) -> bool:
        """Return whether an event with this id was seen at an earlier offset; note it if not."""
        digest = xxhash.xxh64_intdigest(event_id.encode())
        if any(known == digest and at < offset for known, at in self.seen):
            return True
        if offset > self.events_offset:
            self.seen.append((digest, offset))
            del self.seen[:-_SEEN]
        return False

    def sums(self, day: int, variant: str) -> Sums:
        """Return the user's sums of a day and variant, to be changed."""
        return self.days.setdefault(day_key(day, variant), Sums())


def day_key(day: int, variant: str) -> str:
    """Return the key of `UserRecord.days`: map keys of MessagePack are strings here."""
    return f"{day}/{variant}"


def day_variant(key: str) -> DayVariant:
    """Return the day and the variant of such a key."""
    day, _, variant = key.partition("/")
    return int(day), variant


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(UserRecord).decode


def encode_user(user: UserRecord) -> bytes:
    """Return the value of the table. Lists of one user hold much the same items: it is deflated."""
    return zlib.compress(_encode(user), _FASTEST)


def decode_user(value: bytes) -> UserRecord:
    """Return the user of a value of the table.

    Raises:
        msgspec.DecodeError, zlib.error: it is not such a value.
    """
    return _decode(zlib.decompress(value))
