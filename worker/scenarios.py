"""Scenarios: parts of the events, by a column, such as a category, a surface or a campaign.

A scenario is held out of training to see how fast a model adapts to one that it has never met.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from schemas.errors import DataError, SettingsError
from worker.data import EventLog, ItemTable
from worker.event_arrays import read_column
from worker.shards import shards_of
from worker.tables import columns_of, read_tables

NONE = -1
"""The scenario of an event that belongs to none of those asked for."""

MOST_VALUES = 20
"""A column taken whole has at most this many scenarios."""

_NAMED = 10
"""Values that an error names, the most frequent first."""


@dataclass(frozen=True)
class ScenarioChoice:
    """Scenarios as a person names them: `column`, or `column=value,value`."""

    column: str
    """Of the items file, or else of the events file."""
    values: tuple[str, ...] = ()
    """One scenario each; a `*` at the end stands for any ending. Empty: every value is one."""

    @classmethod
    def parse(cls, text: str, flag: str) -> ScenarioChoice:
        """Read the text of a command-line flag, such as `category_code=auto.*,kids.toys`.

        Raises:
            SettingsError: it is not of that form.
        """
        column, equals, values = text.partition("=")
        named = tuple(value.strip() for value in values.split(","))
        if not column.strip() or (equals and not all(named)):
            raise SettingsError(
                f"{flag} {text!r} should be a column and its values, such as"
                " category_code=auto.*,kids.toys"
            )
        return cls(column.strip(), tuple(dict.fromkeys(named)) if equals else ())

    @classmethod
    def parse_values(cls, text: str, flag: str) -> ScenarioChoice:
        """Read the text of a flag that needs values, too.

        Raises:
            SettingsError: it is not of that form.
        """
        choice = cls.parse(text, flag)
        if not choice.values:
            raise SettingsError(f"{flag} {text!r} names no values: give {choice.column}=VALUE,…")
        return choice

    def __str__(self) -> str:
        """Return it as a person would write it."""
        return f"{self.column}={','.join(self.values)}" if self.values else self.column


@dataclass(frozen=True)
class Scenarios:
    """Which scenario each event of a log is of."""

    column: str
    labels: tuple[str, ...]
    """The scenarios' names: the values as they were asked for."""
    of_event: NDArray[np.int16]
    """Place of each event's scenario in `labels`; `NONE` outside all of them, (len(log),)."""
    items: tuple[int, ...]
    """Items with an event in each scenario."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Which events are of any of the scenarios, (len(log),)."""
        found: NDArray[np.bool_] = self.of_event != NONE
        return found

    def only(self, labels: Sequence[str]) -> NDArray[np.bool_]:
        """Return which events are of the scenarios with these names, (len(log),)."""
        places = [place for place, label in enumerate(self.labels) if label in labels]
        found: NDArray[np.bool_] = np.isin(self.of_event, places)
        return found


def find_scenarios(
    choice: ScenarioChoice, events: Path, items: Path, catalogue: ItemTable, log: EventLog
) -> Scenarios:
    """Find the events of scenarios.

    A column that both files have is taken from the items file.

    Args:
        choice: what to find.
        events: the file that `log` was read from.
        items: the file that `catalogue` was read from.
        catalogue: the items.
        log: the events.

    Raises:
        DataError: no file has the column, it has no such value, two of the values overlap, or
            the column is taken whole and has more than `MOST_VALUES` values.
    """
    values = _values_of_events(choice.column, events, items, catalogue, log)
    patterns = choice.values or _every_value(values, choice.column)
    of_event = _places(values, patterns, choice.column)
    n_items = [len(np.unique(log.items[of_event == place])) for place in range(len(patterns))]
    return Scenarios(choice.column, patterns, of_event, tuple(n_items))


def _values_of_events(
    column: str, events: Path, items: Path, catalogue: ItemTable, log: EventLog
) -> pl.Series:
    """Return the column's value at each event of the log as text; null where there is none."""
    of_items = read_tables(shards_of(items))
    if column in of_items.columns:
        in_order = _as_text(of_items[column])
        if of_items["item_id"].cast(pl.String).to_list() != catalogue.item_ids:
            raise DataError(f"{items} changed while it was read")
        return in_order[log.items.astype(np.int64)]
    shards = shards_of(events)
    of_events = columns_of(shards[0])
    if column not in of_events:
        raise DataError(
            f"there is no column {column!r}: {items} has {', '.join(of_items.columns)};"
            f" {events} has {', '.join(of_events)}"
        )
    return _as_text(read_column(shards, column))


def _as_text(column: pl.Series) -> pl.Series:
    text = column.cast(pl.String)
    return text.set(text == "", None)


def _every_value(values: pl.Series, column: str) -> tuple[str, ...]:
    found: list[str] = values.drop_nulls().unique().sort().to_list()
    if len(found) > MOST_VALUES:
        raise DataError(
            f"the column {column} has {len(found):,} values, more than {MOST_VALUES}: name those"
            f" to take, as in {column}={found[0]}; {_most_frequent(values)}"
        )
    return tuple(found)


def _places(values: pl.Series, patterns: tuple[str, ...], column: str) -> NDArray[np.int16]:
    """Return the place of the pattern that matches each value; `NONE` where none does."""
    distinct = values.drop_nulls().unique().sort().to_list()
    place_of: dict[str, int] = {}
    for place, pattern in enumerate(patterns):
        matched = [value for value in distinct if _matches(value, pattern)]
        if not matched:
            raise DataError(
                f"no event has {column}={pattern}; {_most_frequent(values)}"
                " (a * at the end stands for any ending)"
            )
        for value in matched:
            if value in place_of:
                raise DataError(
                    f"{column}={patterns[place_of[value]]} and {column}={pattern} overlap: both"
                    f" hold {value!r}"
                )
            place_of[value] = place
    places = values.replace_strict(place_of, default=NONE, return_dtype=pl.Int16)
    return places.fill_null(NONE).to_numpy()


def _matches(value: str, pattern: str) -> bool:
    if pattern.endswith("*"):
        return value.startswith(pattern[:-1])
    return value == pattern


def _most_frequent(values: pl.Series) -> str:
    present = values.drop_nulls()
    counts = present.value_counts(name="n").sort(["n", present.name], descending=[True, False])
    named = ", ".join(counts[present.name].head(_NAMED).to_list())
    more = len(counts) - _NAMED
    return f"it has {named}" + (f" and {more:,} more" if more > 0 else "")
