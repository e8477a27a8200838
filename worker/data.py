"""Events and items files as arrays: what training and evaluation read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.canonical_items import TEXT_COLUMNS, catalog_item_from_row
from schemas.catalog import category_text, item_text
from schemas.clickstream import EVENT_TYPE_INDEX, SUPPORT_TYPES, parse_event_type
from schemas.errors import DataError

EVENT_COLUMNS = ("user_id", "item_id", "event_type", "timestamp")


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
    """Read an items file (CSV or Parquet, plain or gzipped) with at least `item_id`.

    Raises:
        DataError: the file or the column is missing, or an item id stands twice.
    """
    frame = read_table(path)
    require_columns(frame, ("item_id",), path)
    item_ids = frame["item_id"].cast(pl.String).to_list()
    if len(set(item_ids)) != len(item_ids):
        twice = frame["item_id"].cast(pl.String).value_counts().filter(pl.col("count") > 1)
        raise DataError(f"{path}: item_id {twice['item_id'][0]!r} stands more than once")
    rows = frame.with_columns(pl.col("item_id").cast(pl.String)).iter_rows(named=True)
    items = [catalog_item_from_row(row) for row in rows]
    return ItemTable(
        item_ids, [item_text(item) for item in items], [category_text(item) for item in items]
    )


def load_events(path: Path, items: ItemTable) -> EventLog:
    """Read an events file with the columns user_id, item_id, event_type and timestamp (seconds).

    Rows are sorted by time; rows of the same time keep the file's order. Events that are no
    positive evidence (impressions, removals from a cart) are left out, as the worker does not
    adapt to them.

    Raises:
        DataError: a column is missing, an event type is unknown, or an item is not in `items`.
    """
    frame, types = support_events(path)
    user_ids = frame["user_id"].unique(maintain_order=True)
    return EventLog(
        users=_codes(frame["user_id"], user_ids.to_list()),
        items=_item_codes(frame["item_id"], items, path),
        types=types,
        times=(frame["timestamp"].cast(pl.Float64) * 1000).cast(pl.Int64).to_numpy(),
        user_ids=user_ids.to_list(),
    )


def support_events(path: Path, more: tuple[str, ...] = ()) -> tuple[pl.DataFrame, NDArray[np.int8]]:
    """Return the rows of an events file that `load_events` keeps, in its order, and their types.

    Args:
        path: of the file.
        more: columns to return besides `EVENT_COLUMNS`; these may have empty cells.

    Raises:
        DataError: a column is missing or has empty cells, or an event type is unknown.
    """
    frame = read_table(path)
    require_columns(frame, (*EVENT_COLUMNS, *more), path)
    frame = frame.select(*EVENT_COLUMNS, *(name for name in more if name not in EVENT_COLUMNS))
    frame = frame.with_columns(pl.col("user_id", "item_id").cast(pl.String))
    empty = frame.select(pl.col(EVENT_COLUMNS).is_null().any()).row(0, named=True)
    for column, has_null in empty.items():
        if has_null:
            raise DataError(f"{path}: the column {column} has empty cells")
    frame = frame.sort("timestamp", maintain_order=True)
    types = _type_codes(frame["event_type"], path)
    is_support = np.isin(types, [EVENT_TYPE_INDEX[kind] for kind in SUPPORT_TYPES])
    return frame.filter(pl.Series(is_support)), types[is_support]


def read_table(path: Path) -> pl.DataFrame:
    """Read a CSV or Parquet file, plain or gzipped; ids stay text.

    Raises:
        DataError: there is no such file, or it is neither.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    try:
        if ".parquet" in path.suffixes:
            return pl.read_parquet(path)
        as_text = dict.fromkeys(("user_id", *TEXT_COLUMNS), pl.String)
        return pl.read_csv(path, schema_overrides=as_text, infer_schema_length=10_000)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path} cannot be read as CSV or Parquet: {error}") from error


def require_columns(frame: pl.DataFrame, columns: tuple[str, ...], path: Path) -> None:
    """Raise DataError unless the table has every one of `columns`."""
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise DataError(
            f"{path} lacks the column {', '.join(missing)}; it has {', '.join(frame.columns)}"
        )


def _codes(column: pl.Series, values: list[str]) -> NDArray[np.int32]:
    table = dict(zip(values, range(len(values)), strict=True))
    return column.replace_strict(table, return_dtype=pl.Int32, default=-1).to_numpy()


def _item_codes(column: pl.Series, items: ItemTable, path: Path) -> NDArray[np.int32]:
    codes = _codes(column, items.item_ids)
    unknown = np.flatnonzero(codes < 0)
    if unknown.size:
        raise DataError(
            f"{path}: item_id {column[int(unknown[0])]!r} is not in the items file"
            f" ({unknown.size} such events)"
        )
    return codes


def _type_codes(column: pl.Series, path: Path) -> NDArray[np.int8]:
    table = {}
    for name in column.unique().to_list():
        try:
            table[name] = EVENT_TYPE_INDEX[parse_event_type(str(name))]
        except ValueError as error:
            raise DataError(f"{path}: {error}") from None
    return column.replace_strict(table, return_dtype=pl.Int8).to_numpy()
