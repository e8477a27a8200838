"""From a format's columns to checked fields of `ClickstreamEvent`, and what could not be used."""

from __future__ import annotations

import enum
from collections.abc import Callable

import polars as pl

from producer.datasets.cells import consent, event_type, number, text
from producer.datasets.tables import ROW
from producer.datasets.times import time_ms
from schemas.clickstream import EventType

MAX_ID = 128
MAX_QUERY = 2048
MAX_TEXT = 16_384
MAX_RATING = 5

SKIP = "_skip"
"""Column: why the row is no event (a `SkipReason`); null for a good row."""
UNUSED = "_unused_"
"""Prefix of boolean columns, one an optional field: was its value dropped or cut?"""


class SkipReason(enum.StrEnum):
    """Why a row of an events file is no event."""

    NO_USER = "no user_id"
    LONG_USER = f"user_id longer than {MAX_ID} characters"
    NO_TYPE = "no event_type"
    UNKNOWN_TYPE = "unknown event_type"
    NO_TIME = "no timestamp"
    BAD_TIME = "timestamp that is no time from 1970 to 9999"
    NO_QUERY = "search without query"
    NO_ITEM = "no item_id"
    LONG_ITEM = f"item_id longer than {MAX_ID} characters"


def _short(cell: pl.Expr) -> pl.Expr:
    return pl.when(cell.str.len_chars() <= MAX_ID).then(cell)


def _within(cell: pl.Expr, highest: float) -> pl.Expr:
    value = number(cell)
    return pl.when(value.is_between(0, highest)).then(value)


def _count(cell: pl.Expr) -> pl.Expr:
    value = number(cell)
    return pl.when((value == value.floor()) & value.is_between(0, 2**53)).then(value.cast(pl.Int64))


def _currency(cell: pl.Expr) -> pl.Expr:
    code = cell.str.to_uppercase()
    return pl.when(code.str.contains(r"^[A-Z]{3}$")).then(code)


_Clean = Callable[[pl.Expr], pl.Expr]
_CLEAN: dict[str, tuple[_Clean, pl.DataType | type[pl.DataType]]] = {
    "event_id": (_short, pl.String),
    "session_id": (_short, pl.String),
    "query": (lambda cell: cell.str.slice(0, MAX_QUERY), pl.String),
    "text": (lambda cell: cell.str.slice(0, MAX_TEXT), pl.String),
    "rating": (lambda cell: _within(cell, MAX_RATING), pl.Float64),
    "price": (lambda cell: _within(cell, float("inf")), pl.Float64),
    "currency": (_currency, pl.String),
    "quantity": (_count, pl.Int64),
    "surface": (_short, pl.String),
    "recommendation_id": (_short, pl.String),
}
"""Optional field → (expression from the cell's text to the field, its type)."""
_LONGEST = {"query": MAX_QUERY, "text": MAX_TEXT}

OPTIONAL_FIELDS = tuple(_CLEAN)
FIELDS = ("user_id", "item_id", "type", "time", *OPTIONAL_FIELDS, "consent")
"""Columns of a normalised frame that are fields of an event."""


def normalise(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Return checked event fields, `ROW`, `SKIP` and the `UNUSED` flags for each row.

    Args:
        frame: canonical columns as a `DatasetFormat.events` gives them.
    """
    names = set(frame.collect_schema().names())
    required = frame.with_columns(
        user_id=text("user_id"),
        item_id=text("item_id"),
        _type_cell=text("event_type"),
        type=event_type("event_type"),
        _time_cell=text("timestamp"),
        time=time_ms("timestamp"),
        consent=consent("consent") if "consent" in names else pl.lit(True),
        **{name: text(name) if name in names else pl.lit(None, pl.String) for name in _CLEAN},
    )
    checked = required.with_columns(
        **{name: clean(pl.col(name)).cast(dtype) for name, (clean, dtype) in _CLEAN.items()},
        **{f"{UNUSED}{name}": _is_unused(name, clean) for name, (clean, _) in _CLEAN.items()},
    ).with_columns(_skip_reason().alias(SKIP))
    flags = [f"{UNUSED}{name}" for name in _CLEAN]
    return checked.select(ROW, *FIELDS, SKIP, *flags)


def _is_unused(name: str, clean: _Clean) -> pl.Expr:
    cell = pl.col(name)
    if name in _LONGEST:
        return (cell.str.len_chars() > _LONGEST[name]).fill_null(False)
    return cell.is_not_null() & clean(cell).is_null()


def _skip_reason() -> pl.Expr:
    is_search = pl.col("type") == EventType.SEARCH.value
    reasons = {
        SkipReason.NO_USER: pl.col("user_id").is_null(),
        SkipReason.LONG_USER: pl.col("user_id").str.len_chars() > MAX_ID,
        SkipReason.NO_TYPE: pl.col("_type_cell").is_null(),
        SkipReason.UNKNOWN_TYPE: pl.col("type").is_null(),
        SkipReason.NO_TIME: pl.col("_time_cell").is_null(),
        SkipReason.BAD_TIME: pl.col("time").is_null(),
        SkipReason.NO_QUERY: is_search & pl.col("query").is_null(),
        SkipReason.NO_ITEM: ~is_search & pl.col("item_id").is_null(),
        SkipReason.LONG_ITEM: pl.col("item_id").str.len_chars() > MAX_ID,
    }
    return pl.coalesce(
        pl.when(applies).then(pl.lit(reason.value)) for reason, applies in reasons.items()
    )
