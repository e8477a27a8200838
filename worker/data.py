"""Events and items files as arrays: what training and evaluation read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.canonical_items import catalog_item_from_row
from schemas.catalog import category_text, item_text
from schemas.errors import DataError
from worker.event_arrays import EventArrays
from worker.shards import shards_of
from worker.tables import read_table, require_columns


@dataclass(frozen=True)
class ItemTable:
    """The catalogue: row i is item code i."""

    item_ids: list[str]
    texts: list[str]
    categories: list[str] | None = None
    """Category path of each item as one text, blank where there is none; None if not read."""

    def __len__(self) -> int:
        return len(self.item_ids)


@dataclass(frozen=True)
class EventLog:
    """Events in time order, one array per column.

    `users` and `items` are codes: indices into `user_ids` and into an `ItemTable`.
    """

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    types: NDArray[np.int8]
    """Rows of `schemas.clickstream.EVENT_TYPE_INDEX`."""
    times: NDArray[np.int64]
    """Milliseconds since the epoch."""
    user_ids: list[str]

    def __len__(self) -> int:
        return len(self.users)

    def where(self, mask: NDArray[np.bool_]) -> EventLog:
        """Return the events where `mask` (n,) is true, in the same order, codes unchanged."""
        return EventLog(
            self.users[mask], self.items[mask], self.types[mask], self.times[mask], self.user_ids
        )


def load_items(path: Path) -> ItemTable:
    """Read items (CSV or Parquet, plain or gzipped) with at least `item_id`.

    Args:
        path: a file, or a folder or a pattern that stands for several; see `shards_of`.

    Raises:
        DataError: a file or the column is missing, or an item id is missing or stands twice.
    """
    categories: list[str] = []
    table = ItemTable([], [], categories)
    for shard in shards_of(path):
        frame = read_table(shard)
        require_columns(frame, ("item_id",), shard)
        frame = frame.with_columns(pl.col("item_id").cast(pl.String))
        if frame["item_id"].null_count():
            raise DataError(f"{shard}: the column item_id has empty cells")
        for row in frame.iter_rows(named=True):
            item = catalog_item_from_row(row)
            table.item_ids.append(row["item_id"])
            table.texts.append(item_text(item))
            categories.append(category_text(item))
    if len(set(table.item_ids)) != len(table.item_ids):
        twice, _ = Counter(table.item_ids).most_common(1)[0]
        raise DataError(f"{path}: item_id {twice!r} stands more than once")
    return table


def load_events(
    path: Path, items: ItemTable, on_file: Callable[[], None] = lambda: None
) -> EventLog:
    """Read events with the columns user_id, item_id, event_type and timestamp (seconds).

    Rows are sorted by time; rows of the same time keep their order, that of several files being
    the one of their names. Files may overlap in time. Events that are no positive evidence
    (impressions, removals from a cart) are left out, as the worker does not adapt to them.

    Args:
        path: a file, or a folder or a pattern that stands for several; see `shards_of`.
        items: the catalogue.
        on_file: called after each file.

    Raises:
        DataError: a column is missing or holds something else, an event type is unknown, or an
            item is not in `items`; the message names the file.
    """
    arrays = EventArrays(items.item_ids)
    for shard in shards_of(path):
        arrays.read(shard)
        on_file()
    return EventLog(*arrays.columns())
