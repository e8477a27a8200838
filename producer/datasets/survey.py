"""One pass over an events file before it is replayed: how much is usable, and is it in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import polars as pl

from producer.datasets.normalise import OPTIONAL_FIELDS, SKIP, UNUSED


@dataclass
class Survey:
    """What an events file holds."""

    rows: int = 0
    usable: int = 0
    """Rows that are events."""
    skipped: Counter[str] = field(default_factory=Counter)
    """Rows that are none, by `SkipReason`."""
    unused: Counter[str] = field(default_factory=Counter)
    """Values of optional fields that were dropped (or, of long texts, cut), by field."""
    in_order: bool = True
    """Usable rows stand in time order."""
    first_time: int | None = None
    """Milliseconds since the epoch."""
    last_time: int | None = None
    """The latest time, milliseconds since the epoch."""

    def add(self, batch: pl.DataFrame) -> None:
        """Count one batch of a normalised frame; batches come in the file's order."""
        usable = batch.filter(pl.col(SKIP).is_null())
        self.rows += batch.height
        self.usable += usable.height
        for reason, count in batch[SKIP].drop_nulls().value_counts().iter_rows():
            self.skipped[reason] += count
        flags = batch.select(pl.col(f"{UNUSED}{name}").sum() for name in OPTIONAL_FIELDS)
        self.unused.update(
            {
                name: count
                for name, count in zip(OPTIONAL_FIELDS, flags.row(0), strict=True)
                if count
            }
        )
        if usable.height:
            self._follow(usable["time"])

    def _follow(self, times: pl.Series) -> None:
        low, high, first = int(times.min()), int(times.max()), int(times[0])  # type: ignore[arg-type]
        later = self.last_time is None or first >= self.last_time
        self.in_order = self.in_order and later and times.is_sorted()
        self.first_time = low if self.first_time is None else min(self.first_time, low)
        self.last_time = high if self.last_time is None else max(self.last_time, high)


def survey(batches: Iterable[pl.DataFrame]) -> Survey:
    """Return what the batches of a normalised frame hold."""
    result = Survey()
    for batch in batches:
        result.add(batch)
    return result
