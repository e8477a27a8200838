"""Text cells to values, as polars expressions: text, numbers, event types, consent."""

from __future__ import annotations

import polars as pl

from schemas.clickstream import EVENT_TYPE_ALIASES, EventType, parse_event_type

_EVENT_TYPES = {
    name: parse_event_type(name).value
    for name in [*(t.value for t in EventType), *EVENT_TYPE_ALIASES]
}
_CONSENT_WORDS = ["true", "1", "yes"]


def text(column: str | pl.Expr) -> pl.Expr:
    """Return the cell as text without blanks around it; null where nothing is left."""
    cell = pl.col(column) if isinstance(column, str) else column
    stripped = cell.cast(pl.String).str.strip_chars()
    return pl.when(stripped != "").then(stripped)


def number(column: str | pl.Expr) -> pl.Expr:
    """Return the cell as a finite float64; null where it is none."""
    value = text(column).cast(pl.Float64, strict=False)
    return pl.when(value.is_finite()).then(value)


def event_type(column: str) -> pl.Expr:
    """Return the name of the `EventType` that the cell stands for; null where it is unknown."""
    return text(column).map_batches(_known_types, return_dtype=pl.String, is_elementwise=True)


def consent(column: str) -> pl.Expr:
    """Return whether the user consents, from true/false, 1/0 or yes/no; an empty cell is a yes.

    A word that is none of these is a no: consent that cannot be read was not given.
    """
    given = text(column).str.to_lowercase()
    return given.is_null() | given.is_in(_CONSENT_WORDS)


def _known_types(cells: pl.Series) -> pl.Series:
    # As an expression, replace_strict makes polars hold the whole file in memory.
    return cells.str.to_lowercase().replace_strict(
        _EVENT_TYPES, default=None, return_dtype=pl.String
    )
