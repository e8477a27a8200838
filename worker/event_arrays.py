"""Read events, a batch of rows at a time, into arrays of numbers.

No more than a batch of them is ever held as text. What stays of an event are 17 bytes: codes of its
user, its item and its type, and its time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.clickstream import EVENT_TYPE_INDEX, SUPPORT_TYPES, parse_event_type
from schemas.errors import DataError
from worker.tables import read_batches

EVENT_COLUMNS = ("user_id", "item_id", "event_type", "timestamp")

_SUPPORT = [EVENT_TYPE_INDEX[kind] for kind in SUPPORT_TYPES]
_LAST_SECOND = 253_402_300_799
"""Of the year 9999."""


class Columns(NamedTuple):
    """n events; see `worker.data.EventLog`."""

    users: NDArray[np.int32]
    items: NDArray[np.int32]
    types: NDArray[np.int8]
    times: NDArray[np.int64]
    user_ids: list[str]


class EventArrays:
    """The events of all files read so far, in the order of reading.

    Args:
        item_ids: by code.
    """

    def __init__(self, item_ids: list[str]) -> None:
        self._item_codes = {item_id: code for code, item_id in enumerate(item_ids)}
        self._user_codes = _Codes()
        self._users: list[NDArray[np.int32]] = []
        self._items: list[NDArray[np.int32]] = []
        self._types: list[NDArray[np.int8]] = []
        self._times: list[NDArray[np.int64]] = []

    def read(self, path: Path) -> None:
        """Add the events of a file, those that are no positive evidence left out.

        Raises:
            DataError: the file cannot be read, a column is missing or holds something else, an
                event type is unknown, or an item is not among the `item_ids`.
        """
        for batch in read_batches(path, EVENT_COLUMNS):
            users, items = (_ids(batch[name], path) for name in ("user_id", "item_id"))
            evidence = _evidence(batch, path)
            self._users.append(self._user_codes.of(users.filter(evidence.kept)))
            self._items.append(self._codes_of_items(items.filter(evidence.kept), path))
            self._types.append(evidence.types)
            self._times.append(evidence.times)

    def columns(self) -> Columns:
        """Return the events in the order of time, and let go of them.

        Those of the same time stay in the order of reading; users are numbered in the order of
        their first events.
        """
        times, order = _by_time(self._times)
        users, old = by_first_appearance(_joined(self._users, np.int32, order))
        items = _joined(self._items, np.int32, order)
        types = _joined(self._types, np.int8, order)
        ids = self._user_codes.values()
        return Columns(users, items, types, times, [ids[code] for code in old])

    def _codes_of_items(self, items: pl.Series, path: Path) -> NDArray[np.int32]:
        codes = _coded(items, lambda item_id: self._item_codes.get(item_id, -1))
        unknown = np.flatnonzero(codes < 0)
        if unknown.size:
            raise DataError(f"{path}: item_id {items[int(unknown[0])]!r} is not in the items file")
        return codes


def read_column(paths: list[Path], column: str) -> pl.Series:
    """Return a further column's text at each event that `EventArrays` has of the same files.

    Null where a cell is empty.

    Raises:
        DataError: a file cannot be read, a column is missing, or times or types are wrong.
    """
    codes = _Codes()
    places: list[NDArray[np.int32]] = []
    times: list[NDArray[np.int64]] = []
    for path in paths:
        for batch in read_batches(path, tuple(dict.fromkeys((*EVENT_COLUMNS, column)))):
            evidence = _evidence(batch, path)
            places.append(codes.of(batch[column].cast(pl.String).filter(evidence.kept)))
            times.append(evidence.times)
    _, order = _by_time(times)
    return pl.Series(column, codes.values(), dtype=pl.String)[_joined(places, np.int32, order)]


def by_first_appearance(codes: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """Number codes anew, in the order in which they first appear: (n,) → (n,), (old by new,)."""
    first = np.full(int(codes.max(initial=-1)) + 1, -1)
    # Of equal indices the last one counts.
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    present = np.flatnonzero(first >= 0)
    old = present[np.argsort(first[present])]
    new = np.empty(len(first), np.int32)
    new[old] = np.arange(len(old), dtype=np.int32)
    return new[codes], old


class _Codes:
    """A number for each text, given as they come."""

    def __init__(self) -> None:
        self._codes: dict[str | None, int] = {}

    def of(self, column: pl.Series) -> NDArray[np.int32]:
        codes = self._codes
        return _coded(column, lambda text: codes.setdefault(text, len(codes)))

    def values(self) -> list[Any]:
        return list(self._codes)


def _coded(column: pl.Series, code_of: Callable[[Any], int]) -> NDArray[np.int32]:
    # Each text is looked up once, however often it stands in the batch.
    present = column.unique()
    codes = pl.Series([code_of(text) for text in present.to_list()], dtype=pl.Int32)
    return column.replace_strict(present, codes, return_dtype=pl.Int32).to_numpy()


@dataclass(frozen=True)
class _Evidence:
    """The rows of a batch that are positive evidence, m of them."""

    kept: pl.Series
    """Which rows these are."""
    types: NDArray[np.int8]
    """(m,)."""
    times: NDArray[np.int64]
    """Milliseconds, (m,)."""


def _evidence(batch: pl.DataFrame, path: Path) -> _Evidence:
    for name in EVENT_COLUMNS:
        if batch[name].null_count():
            raise DataError(f"{path}: the column {name} has empty cells")
    types = _type_codes(batch["event_type"], path)
    is_support = np.isin(types, _SUPPORT)
    kept = pl.Series(is_support, dtype=pl.Boolean)
    times = _milliseconds(batch["timestamp"], path).filter(kept)
    return _Evidence(kept, types[is_support], times.to_numpy())


def _by_time(
    parts: list[NDArray[np.int64]],
) -> tuple[NDArray[np.int64], NDArray[np.intp] | None]:
    """Return the times in order, and that order; None if they came in it."""
    times = _joined(parts, np.int64, None)
    if (times[1:] >= times[:-1]).all():
        return times, None
    order = np.argsort(times, kind="stable")
    return times[order], order


def _joined(parts: list[NDArray[Any]], dtype: type, order: NDArray[np.intp] | None) -> NDArray[Any]:
    whole = np.concatenate([np.empty(0, dtype), *parts])
    parts.clear()  # so that only one column is held twice
    return whole if order is None else whole[order]


def _ids(column: pl.Series, path: Path) -> pl.Series:
    dtype = column.dtype
    if dtype.is_integer() or dtype in (pl.String, pl.Categorical, pl.Enum, pl.Null):
        return column.cast(pl.String)
    # Not floats: 7.0 is what is left of 7 where a tool met an empty cell, and is another id.
    raise DataError(f"{path}: the column {column.name} holds {dtype}; ids are text or integers")


def _milliseconds(column: pl.Series, path: Path) -> pl.Series:
    dtype = column.dtype
    if dtype in (pl.Datetime, pl.Date):
        return column.cast(pl.Datetime("ms")).dt.epoch("ms")
    if not dtype.is_numeric() and dtype != pl.Null:
        raise DataError(
            f"{path}: the column {column.name} holds {dtype}; right would be seconds since the"
            " epoch, as numbers, or points in time"
        )
    exact = pl.Int64 if dtype.is_integer() else pl.Float64
    seconds = column.cast(exact, strict=False)
    outside = column.filter(~seconds.is_between(-_LAST_SECOND, _LAST_SECOND).fill_null(value=False))
    if len(outside):
        raise DataError(
            f"{path}: the column {column.name} has {outside[0]}, which is no time in seconds"
            " between the years 0 and 9999"
        )
    return (seconds * 1000).round().cast(pl.Int64)


def _type_codes(column: pl.Series, path: Path) -> NDArray[np.int8]:
    names = column.cast(pl.String)
    present = names.unique()
    codes = []
    for name in present.to_list():
        try:
            codes.append(EVENT_TYPE_INDEX[parse_event_type(str(name))])
        except ValueError as error:
            raise DataError(f"{path}: {error}") from None
    return names.replace_strict(present, pl.Series(codes, dtype=pl.Int8)).to_numpy()
