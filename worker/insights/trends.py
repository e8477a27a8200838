"""Time-decayed counts of items, in bounded memory.

**Forward decay** (Cormode, Shkapenyuk, Srivastava & Xu, "Forward decay: a practical time decay
model for streaming systems", ICDE 2009). An event at time t has, at a later time T, the weight
2^((t − T)/H) with the half-life H. Kept is Σ 2^((t − L)/H) for a fixed landmark L; dividing by
2^((T − L)/H) when asked gives the decayed count. So an event only adds, in whatever order events
come, and counts of several partitions add up.

**Bounded memory.** At twice the capacity the smaller half of the counters is dropped, and the
largest count among them is added to `lost`: an item's count is too low by at most that, and an
item without a counter has at most that (the bookkeeping of Manku & Motwani's lossy counting,
"Approximate frequency counts over data streams", VLDB 2002, with counters dropped by rank). With
fewer different items than that, counts are exact.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Iterable

import msgspec

# Weights are rescaled before they reach 2^this, far below the 2^1024 of a double.
_LARGEST_EXPONENT = 256.0


class DecayedCounts(msgspec.Struct, array_like=True):
    """Counts of one surface in one partition. Changed by `Decay` alone."""

    offset: int = -1
    """Of the last event counted."""
    latest: int = 0
    """Latest time of an event, milliseconds."""
    landmark: int = 0
    lost: float = 0.0
    """Bound on what is missing from any count, relative to the landmark, as the counts are."""
    counts: dict[str, float] = {}


class Decay:
    """Adds to counts.

    Args:
        half_life_ms: after so long an event counts half.
        capacity: counters left after a pruning; there are never more than twice as many.
    """

    def __init__(self, half_life_ms: float, capacity: int) -> None:
        self.half_life_ms = half_life_ms
        """After so long an event counts half."""
        self._capacity = capacity

    def add(self, counts: DecayedCounts, item: str, time_ms: int, offset: int) -> bool:
        """Count an event; return False if the counts have it already, by its offset."""
        if offset <= counts.offset:
            return False
        counts.offset = offset
        if not counts.counts:
            counts.landmark = time_ms
        exponent = (time_ms - counts.landmark) / self.half_life_ms
        if exponent > _LARGEST_EXPONENT:
            self._move_landmark(counts, time_ms)
            exponent = 0.0
        held = counts.counts
        held[item] = held.get(item, 0.0) + _power(exponent)
        counts.latest = max(counts.latest, time_ms)
        if len(held) > 2 * self._capacity:
            self._prune(counts)
        return True

    def at(self, counts: DecayedCounts, time_ms: int) -> dict[str, float]:
        """Return the items' counts as they are at a time."""
        factor = self._factor(counts, time_ms)
        return {item: count * factor for item, count in counts.counts.items()}

    def lost_at(self, counts: DecayedCounts, time_ms: int) -> float:
        """Return the bound on what is missing from any count, at a time."""
        return counts.lost * self._factor(counts, time_ms)

    def _factor(self, counts: DecayedCounts, time_ms: int) -> float:
        return _power((counts.landmark - time_ms) / self.half_life_ms)

    def _move_landmark(self, counts: DecayedCounts, time_ms: int) -> None:
        moved = self.at(counts, time_ms)
        counts.lost = self.lost_at(counts, time_ms)
        # What has faded to nothing needs no counter.
        counts.counts = {item: count for item, count in moved.items() if count > 0.0}
        counts.landmark = time_ms

    def _prune(self, counts: DecayedCounts) -> None:
        ranked = heapq.nlargest(self._capacity + 1, counts.counts.items(), key=_rank)
        counts.lost += ranked[-1][1]
        counts.counts = dict(ranked[:-1])


def merged(decay: Decay, parts: Iterable[DecayedCounts]) -> tuple[int, dict[str, float], float]:
    """Return partitions' counts as one: the latest time, the counts then, and what is missing."""
    listed = list(parts)
    latest = max((part.latest for part in listed), default=0)
    total: dict[str, float] = {}
    for part in listed:
        for item, count in decay.at(part, latest).items():
            total[item] = total.get(item, 0.0) + count
    return latest, total, sum(decay.lost_at(part, latest) for part in listed)


def leading(counts: dict[str, float], most: int) -> list[tuple[str, float]]:
    """Return the items with the highest counts, the highest first, equal ones by id."""
    return heapq.nsmallest(most, counts.items(), key=lambda row: (-row[1], row[0]))


def encode_counts(counts: DecayedCounts) -> bytes:
    """Return counts as the value of a record."""
    return zlib.compress(_encode(counts), 1)


def decode_counts(value: bytes) -> DecayedCounts:
    """Return the counts of a record's value.

    Raises:
        msgspec.DecodeError, zlib.error: it is not such a value.
    """
    return _decode(zlib.decompress(value))


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(DecayedCounts).decode


def _power(exponent: float) -> float:
    # Far in the past is nothing; Python raises for results out of range upwards only.
    return 2.0**exponent if exponent > -1074 else 0.0


def _rank(row: tuple[str, float]) -> tuple[float, str]:
    return row[1], row[0]
