"""What a dataset format is: which columns tell it, and how they become canonical ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from schemas.errors import DataError

Transform = Callable[[pl.LazyFrame], pl.LazyFrame]


@dataclass(frozen=True)
class DatasetFormat:
    """One format of events and items files.

    `events` turns a file's rows into canonical event columns: user_id, item_id, event_type and
    timestamp, each in any spelling that `producer.datasets.cells` reads, plus any of the optional
    fields of `ClickstreamEvent`; it keeps rows, their order and the row number. `items` turns an
    items file into the columns that `schemas.canonical_items` reads, one row an item at best.
    """

    name: str
    summary: str
    event_columns: frozenset[str]
    """Columns that an events file of this format has; they tell the format."""
    events: Transform
    item_columns: frozenset[str] = frozenset()
    """Columns that an items file of this format has."""
    items: Transform | None = None
    """None: the format has no items files."""
    items_from_events: Transform | None = None
    """Derive the items from the events file, for formats that describe the item in each event."""


def require_columns(path: Path, columns: Iterable[str], needed: Iterable[str], who: str) -> None:
    """Raise DataError unless `columns`, those of the file at `path`, hold every one of `needed`."""
    columns = list(columns)
    missing = sorted(set(needed) - set(columns))
    if missing:
        raise DataError(
            f"{path} lacks the column{'s'[: len(missing) > 1]} {', '.join(missing)} "
            f"that {who} needs; it has {', '.join(columns)}"
        )


def pick(frame: pl.LazyFrame, columns: dict[str, str]) -> dict[str, pl.Expr]:
    """Return canonical name → column for those source columns that the frame has."""
    present = frame.collect_schema().names()
    return {ours: pl.col(theirs) for ours, theirs in columns.items() if theirs in present}
