"""What all partitions say together: what is trending, the indicators, and drift of the hit-rate."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from schemas.insights import Trending, TrendingItem
from worker.insights.drift import DriftWindow, observe
from worker.insights.indicators import Sums, SumsTable
from worker.insights.parts import IndicatorsPart, PartKey, decode_indicators
from worker.insights.trends import Decay, DecayedCounts, decode_counts, leading, merged

# An event that is so many half-lives old counts a thousandth.
_HALF_LIVES = 10


class VariantDrift(msgspec.Struct, array_like=True):
    """The hit-rate's window of one variant, with what was put into it beside it."""

    window: DriftWindow
    taken: dict[str, tuple[int, int]] = {}
    """Trials and hits of the window, by partition and day; so that none is put in twice."""


class Totals:
    """The latest parts of all partitions, and what follows from them.

    Args:
        decay: of what is trending.
        sample_rate: share of the users that is looked at.
        drift_delta: see `worker.insights.drift`.
        days: how many days of indicators are put together.
    """

    def __init__(self, decay: Decay, *, sample_rate: float, drift_delta: float, days: int) -> None:
        self._decay = decay
        self._sample_rate = sample_rate
        self._drift_delta = drift_delta
        self._days = days
        self._counts: dict[str, dict[int, DecayedCounts]] = {}
        self._sums: dict[int, IndicatorsPart] = {}
        self.drift: dict[str, VariantDrift] = {}
        """By variant."""

    def replace(self, key: PartKey, value: bytes) -> None:
        """Put a part in place of the partition's last one of its kind.

        Raises:
            msgspec.DecodeError, zlib.error: the value is not of that kind.
        """
        if key.surface is None:
            self._sums[key.partition] = decode_indicators(value)
        else:
            self._counts.setdefault(key.surface, {})[key.partition] = decode_counts(value)

    def trending(self, most: int, surfaces: Iterable[str] | None = None) -> list[Trending]:
        """Return what is trending, by surface; counts are scaled up to all users.

        The scores are those at `window_end`, the time after the latest event of the surface.

        Args:
            most: items of a surface.
            surfaces: which; None for all that there are.
        """
        messages = []
        for surface in sorted(self._counts if surfaces is None else surfaces):
            latest, counts, _ = merged(self._decay, self._counts[surface].values())
            messages.append(
                Trending(
                    surface=surface,
                    window_start=max(0, round(latest - _HALF_LIVES * self._decay.half_life_ms)),
                    window_end=latest + 1,
                    items=[
                        TrendingItem(item_id=item, score=count / self._sample_rate)
                        for item, count in leading(counts, most)
                    ],
                )
            )
        return messages

    def missing(self) -> float:
        """Return the most that a count may be too low by, over all surfaces."""
        return max(
            (merged(self._decay, parts.values())[2] for parts in self._counts.values()),
            default=0.0,
        )

    def by_variant(self) -> dict[str, Sums]:
        """Return the sums of the latest days, by variant."""
        rows = (row for part in self._sums.values() for row in part.items())
        return SumsTable(rows).by_variant(self._days)

    def look_for_drift(self) -> list[str]:
        """Put what is new into the variants' windows; return the variants whose window changed."""
        changed = []
        for variant in sorted({name for part in self._sums.values() for _, name, _ in part.rows}):
            drift = self.drift.setdefault(variant, VariantDrift(DriftWindow()))
            current = {
                f"{partition}/{day}": (sums.next_events, sums.hits)
                for partition, part in self._sums.items()
                for day, name, sums in part.rows
                if name == variant
            }
            trials = hits = 0
            for place, (seen, hit) in current.items():
                before, hit_before = drift.taken.get(place, (0, 0))
                trials += max(0, seen - before)
                hits += max(0, hit - hit_before)
            if trials > 0:
                observe(drift.window, trials, min(hits, trials), self._drift_delta)
                drift.taken = current
                changed.append(variant)
        return changed


_encode = msgspec.msgpack.Encoder().encode
_decode_drift = msgspec.msgpack.Decoder(VariantDrift).decode


def encode_drift(drift: VariantDrift) -> bytes:
    """Return a variant's window as a value of the table."""
    return _encode(drift)


def decode_drift(value: bytes) -> VariantDrift:
    """Return the window of a table's value. Raises msgspec.DecodeError for any other."""
    return _decode_drift(value)
