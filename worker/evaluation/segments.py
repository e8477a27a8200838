"""Segments of the scored users, to see whom a model serves well and whom it does not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.errors import DataError
from worker.split import TimeCut
from worker.tables import read_table, require_columns

ACTIVITY = "activity"
"""Segments by how many events the user has after the cut: also those that are not scored."""

UNKNOWN = "unknown"
"""Segment of the users of whom the users file says nothing."""

MOST_SEGMENTS = 20
"""Different values of a column; numbers with more of them are cut into quarters."""

FEWEST_USERS = 50
"""Segments with fewer scored users do not enter the fairness gap."""

_ACTIVITY_STARTS = (1, 2, 5, 10, 21)


@dataclass(frozen=True)
class Segments:
    """A segment for every user code."""

    by: str
    """Column of the users file, or `ACTIVITY`."""
    labels: tuple[str, ...]
    of_user: NDArray[np.int64]
    """Index in `labels` of each user, (len(user_ids),)."""


def by_activity(cut: TimeCut) -> Segments:
    """Group users by their number of events after the cut."""
    events = np.bincount(cut.stream.users, minlength=len(cut.stream.user_ids))
    ends = (*(start - 1 for start in _ACTIVITY_STARTS[1:]), None)
    labels = tuple(_range(*ends_of) for ends_of in zip(_ACTIVITY_STARTS, ends, strict=True))
    of_user = np.searchsorted(_ACTIVITY_STARTS, np.maximum(events, 1), side="right") - 1
    return Segments(ACTIVITY, labels, of_user.astype(np.int64))


def by_column(path: Path, column: str, user_ids: list[str]) -> Segments:
    """Group users by a column of a users file (CSV or Parquet) with `user_id`.

    Numbers with more than `MOST_SEGMENTS` different values are cut into quarters.

    Raises:
        DataError: the file or the column is missing, a user stands twice, no user of the events
            is in the file, or the column has too many different values.
    """
    frame = read_table(path)
    require_columns(frame, ("user_id", column), path)
    frame = frame.with_columns(pl.col("user_id").cast(pl.String))
    if frame["user_id"].is_duplicated().any():
        twice = frame["user_id"].filter(frame["user_id"].is_duplicated())[0]
        raise DataError(f"{path}: user_id {twice!r} stands more than once")
    values, labels = _labels(frame[column], path)
    of_id = dict(zip(frame["user_id"].to_list(), values, strict=True))
    found = [of_id.get(user) for user in user_ids]
    if all(value is None for value in found):
        raise DataError(f"{path}: none of its users is in the events file; compare the user_id")
    if UNKNOWN not in labels and None in found:
        labels.append(UNKNOWN)
    place = {label: index for index, label in enumerate(labels)}
    of_user = [place[UNKNOWN if value is None else value] for value in found]
    return Segments(column, tuple(labels), np.array(of_user, np.int64))


def _range(first: int, last: int | None) -> str:
    if last is None:
        return f"{first}+"
    return str(first) if first == last else f"{first}-{last}"


def _labels(column: pl.Series, path: Path) -> tuple[list[str | None], list[str]]:
    """Return the segment of each row, None where it has none, and the segments in order."""
    if column.dtype.is_numeric() and column.n_unique() > MOST_SEGMENTS:
        return _quarters(column)
    values = column.sort(nulls_last=True).drop_nulls().unique(maintain_order=True)
    if len(values) > MOST_SEGMENTS:
        raise DataError(
            f"{path}: the column {column.name} has {len(values)} different values; segments take"
            f" at most {MOST_SEGMENTS}, or numbers"
        )
    return column.cast(pl.String).to_list(), values.cast(pl.String).to_list()


def _quarters(column: pl.Series) -> tuple[list[str | None], list[str]]:
    numbers = column.cast(pl.Float64).fill_nan(None)
    ends = np.unique(np.percentile(numbers.drop_nulls().to_numpy(), (25, 50, 75)))
    names = [f"up to {end:g}" for end in ends] + [f"above {ends[-1]:g}"]
    rows = numbers.to_list()
    values = [None if x is None else names[int(np.searchsorted(ends, x))] for x in rows]
    return values, [name for name in names if name in set(values)]
