"""What one partition tells the process that adds partitions up.

A part says all there is to say of its kind, so a newer one replaces an older one, and one that is
sent or read twice changes nothing.
"""

from __future__ import annotations

import msgspec

from worker.insights.indicators import DayVariant, Sums, SumsTable


class PartKey(msgspec.Struct, array_like=True, frozen=True):
    """The key of a part."""

    partition: int
    surface: str | None = None
    """Of a part of what is trending; None for one of the indicators."""


class IndicatorsPart(msgspec.Struct, array_like=True):
    """The sums of all users of a partition."""

    rows: list[tuple[int, str, Sums]]
    """By UTC day and variant."""

    @classmethod
    def of(cls, table: SumsTable) -> IndicatorsPart:
        """Make a part of sums, days that users have left behind left out."""
        return cls(
            [
                (day, variant, sums)
                for (day, variant), sums in table
                if sums.recommendations or sums.next_events
            ]
        )

    def items(self) -> list[tuple[DayVariant, Sums]]:
        """Return the sums by day and variant."""
        return [((day, variant), sums) for day, variant, sums in self.rows]


_encode = msgspec.msgpack.Encoder().encode
_decode_key = msgspec.json.Decoder(PartKey).decode
_decode_indicators = msgspec.msgpack.Decoder(IndicatorsPart).decode


def encode_key(key: PartKey) -> bytes:
    """Return the key of a record; readable, for who looks at the topic."""
    return msgspec.json.encode(key)


def decode_key(key: bytes) -> PartKey:
    """Return what a record's key says. Raises msgspec.DecodeError for any other."""
    return _decode_key(key)


def encode_indicators(part: IndicatorsPart) -> bytes:
    """Return the sums as a record's value."""
    return _encode(part)


def decode_indicators(value: bytes) -> IndicatorsPart:
    """Return the sums in a record's value. Raises msgspec.DecodeError for any other."""
    return _decode_indicators(value)
