"""Read an events file of any known format as a stream of `ClickstreamEvent`, in time order."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import polars as pl

from producer.datasets.canonical import CANONICAL, OPTIONAL_EVENT_COLUMNS, REQUIRED_EVENT_COLUMNS
from producer.datasets.columns import rename_columns
from producer.datasets.format import DatasetFormat, require_columns
from producer.datasets.normalise import FIELDS, SKIP, normalise
from producer.datasets.registry import detect_events_format, format_named
from producer.datasets.survey import Survey, survey
from producer.datasets.tables import ROW, batches, columns_of, open_table
from schemas.clickstream import ClickstreamEvent, EventType
from schemas.errors import DataError

EVENT_COLUMNS = (*sorted(REQUIRED_EVENT_COLUMNS), *OPTIONAL_EVENT_COLUMNS)
"""What a column mapping may name."""

_EVENT_ID_BYTES = 12
_TYPES = {kind.value: kind for kind in EventType}


@dataclass(frozen=True)
class ReadOptions:
    """How to read a file."""

    format: str | None = None
    """Name of a `DatasetFormat`; None tells it by the columns."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Canonical name → the file's name; files so mapped are read as canonical."""
    event_type: EventType | None = None
    """The type of every event of a file that has no such column."""
    encoding: str = "utf8"


@dataclass(frozen=True)
class Selection:
    """Which events of a file to take."""

    users: Literal["all", "new"] = "all"
    """`new`: users whose first event is later than the cut."""
    cut: float = 0.75
    """The cut, as a quantile of the users' first-event times."""
    after_cut: bool = False
    """Only events at the cut or later, whoever's."""
    from_time: int | None = None
    """Milliseconds since the epoch, inclusive."""
    until_time: int | None = None
    """Milliseconds since the epoch, exclusive."""
    limit: int | None = None
    """Most events."""


class EventFile:
    """An events file, opened and recognised; nothing but its header is read yet.

    Args:
        path: CSV, Parquet, JSON lines or `.dat`, plain or gzipped.
        options: how to read it.

    Raises:
        DataError: the file cannot be read, its format is unknown or lacks a column.
    """

    def __init__(self, path: Path, options: ReadOptions | None = None) -> None:
        self.path = path
        self.name = path.name.split(".")[0]
        options = options or ReadOptions()
        self.table = open_table(path, options.encoding)
        self.format, self.table = _recognise(path, self.table, options)
        self._frame = normalise(self.format.events(self.table))

    @functools.cached_property
    def survey(self) -> Survey:
        """What the file holds, from one pass over it.

        Raises:
            DataError: the file is damaged, or no row of it is an event.
        """
        result = survey(batches(self._frame, self.path))
        if not result.usable:
            reasons = ", ".join(f"{reason}: {count}" for reason, count in result.skipped.items())
            raise DataError(
                f"{self.path} has no usable event among its {result.rows} rows, "
                f"read as {self.format.name} ({reasons or 'no rows'})"
            )
        return result

    def count(self, selection: Selection) -> int:
        """Return how many events `events` would give."""
        if selection == Selection():
            return self.survey.usable
        frame = self._select(selection).select(pl.len())
        return sum(int(batch.item()) for batch in batches(frame, self.path))

    def events(
        self, selection: Selection | None = None, pseudonym: Callable[[str], str] | None = None
    ) -> Iterator[ClickstreamEvent]:
        """Return the selected events in time order; those of one time keep the file's order.

        Memory stays bounded where the file is in time order already; else polars sorts it.

        Ids are a function of the file's name, the row's number and the event itself, so reading
        the file again repeats them; an `event_id` in the file is kept.

        Args:
            selection: which events; None takes all.
            pseudonym: from a user id to the id to publish; None publishes it as it stands.

        Raises:
            DataError: the file is damaged.
        """
        for batch in self.frames(selection):
            yield from _events_of(batch, self.name, pseudonym)

    def frames(self, selection: Selection | None = None) -> Iterator[pl.DataFrame]:
        """Return the selected events as tables, in the same order: `ROW` and `FIELDS`.

        Raises:
            DataError: the file is damaged.
        """
        yield from batches(self._select(selection or Selection()), self.path)

    def _select(self, selection: Selection) -> pl.LazyFrame:
        frame = self._frame.filter(pl.col(SKIP).is_null()).select(ROW, *FIELDS)
        if selection.users == "new" or selection.after_cut:
            cut_time = self.cut_time(selection.cut)
            frame = frame.filter(pl.col("time") >= cut_time)
            if selection.users == "new":
                new = self._first_times.filter(pl.col("first") > cut_time).lazy()
                frame = frame.join(new, on="user_id", how="semi", maintain_order="left")
        if selection.from_time is not None:
            frame = frame.filter(pl.col("time") >= selection.from_time)
        if selection.until_time is not None:
            frame = frame.filter(pl.col("time") < selection.until_time)
        if not self.survey.in_order:
            frame = frame.sort("time", ROW)
        return frame if selection.limit is None else frame.head(selection.limit)

    def cut_time(self, quantile: float) -> int:
        """Return the quantile of the users' first-event times, whole milliseconds."""
        value = self._first_times["first"].quantile(quantile, interpolation="linear")
        return int(value or 0)

    @functools.cached_property
    def _first_times(self) -> pl.DataFrame:
        usable = self._frame.filter(pl.col(SKIP).is_null())
        firsts = usable.group_by("user_id").agg(first=pl.col("time").min())
        return pl.concat(list(batches(firsts, self.path)))


def _recognise(
    path: Path, table: pl.LazyFrame, options: ReadOptions
) -> tuple[DatasetFormat, pl.LazyFrame]:
    columns = columns_of(table, path)
    named = format_named(options.format) if options.format else None
    if options.columns:
        if named not in (None, CANONICAL):
            raise DataError(
                f"a column mapping is for files of no known format; leave out either it or the "
                f"format {options.format}"
            )
        table = rename_columns(table, options.columns, path, columns)
        columns, named = [*columns, *options.columns], CANONICAL
    if options.event_type is not None and "event_type" not in columns:
        table = table.with_columns(event_type=pl.lit(options.event_type.value))
        columns = [*columns, "event_type"]
    found = named or detect_events_format(path, columns)
    require_columns(path, columns, found.event_columns, f"the format {found.name}")
    return found, table


def _events_of(
    batch: pl.DataFrame, name: str, pseudonym: Callable[[str], str] | None
) -> Iterator[ClickstreamEvent]:
    for row, user, item, kind, time, event_id, *optional in batch.iter_rows():
        session, query, text, rating, price, currency, quantity, surface, cause, consent = optional
        user_id = pseudonym(user) if pseudonym else user
        yield ClickstreamEvent(
            event_id=event_id or _event_id(name, row, user_id, kind, item or query, time),
            user_id=user_id,
            type=_TYPES[kind],
            time=time,
            item_id=item,
            session_id=session,
            query=query,
            text=text,
            rating=rating,
            price=price,
            currency=currency,
            quantity=quantity,
            surface=surface,
            recommendation_id=cause,
            consent=consent,
        )


def _event_id(*parts: str | int) -> str:
    key = "\x1f".join(map(str, parts)).encode()
    return hashlib.blake2b(key, digest_size=_EVENT_ID_BYTES).hexdigest()
