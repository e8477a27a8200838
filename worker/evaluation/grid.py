"""The look of all tables of an evaluation."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.table import Table

NONE = "–"


def number(value: float | None, digits: int = 3) -> str:
    """Return a figure, or a dash where there is none."""
    return NONE if value is None else f"{value:,.{digits}f}"


def grid(title: str, columns: Iterable[str]) -> Table:
    """Return an empty table of a row per model."""
    table = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
        padding=(0, 1, 0, 0),
    )
    table.add_column("model", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table
