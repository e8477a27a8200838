"""A report as a table for the console."""

from __future__ import annotations

from rich.console import Group
from rich.table import Table
from rich.text import Text

from worker.bench.report import Report, Result, Spread, Value

_NONE = "·"
_MOST_COLUMNS = 5
"""Figures side by side; more go below each other."""
_MOST_RANGES = 3
"""Figures side by side with their ranges; of more there are the medians alone."""


def tables(report: Report) -> Group:
    """Return the report's tables: one for each set of figures, medians with the range below."""
    hardware = report.hardware
    gpu = f", {hardware.gpu.name}" if hardware.gpu else ""
    head = f"bench {report.benchmark}: {hardware.cores} × {hardware.cpu}{gpu}, {report.seconds:g} s"
    shown: list[Table | Text] = [Text(head, style="bold")]
    for names in dict.fromkeys(tuple(result.figures) for result in report.results):
        rows = [result for result in report.results if tuple(result.figures) == names]
        shown.append((_wide if len(names) <= _MOST_COLUMNS else _long)(rows, names))
    shown += [Text(f"not measured: {what}: {why}") for what, why in report.skipped.items()]
    before, after = report.load_average
    shown.append(
        Text(
            "Median (min to max of the repetitions). Load average of the machine before and after: "
            f"{before:g}, {after:g}.",
            style="dim",
        )
    )
    return Group(*shown)


def _wide(rows: list[Result], figures: tuple[str, ...]) -> Table:
    """One line a result, one column a figure."""
    cases, table = _cases(rows), Table(caption=_caption(rows))
    for name in ("method", *cases, *figures):
        first = name == "method"
        table.add_column(
            name.replace("_", " "), justify="left" if first else "right", no_wrap=first
        )
    show = _spread if len(figures) <= _MOST_RANGES else _median
    for row in rows:
        case = [_value(row.case.get(name)) for name in cases]
        table.add_row(_method(row), *case, *(show(row.figures[name]) for name in figures))
    return table


def _long(rows: list[Result], figures: tuple[str, ...]) -> Table:
    """One line a figure, one column a result."""
    table = Table("", *(_method(row) for row in rows), caption=_caption(rows))
    for column in table.columns[1:]:
        column.justify = "right"
    for name in _cases(rows):
        table.add_row(name.replace("_", " "), *(_value(row.case.get(name)) for row in rows))
    table.add_section()
    for name in figures:
        table.add_row(name.replace("_", " "), *(_spread(row.figures[name]) for row in rows))
    return table


def _cases(rows: list[Result]) -> list[str]:
    """Return the entries of the case that tell rows apart; the others go into the caption."""
    names = dict.fromkeys(name for row in rows for name in row.case)
    return [name for name in names if len({row.case.get(name) for row in rows}) > 1]


def _caption(rows: list[Result]) -> str | None:
    alike = rows[0].case.keys() - set(_cases(rows))
    named = [n for n in rows[0].case if n in alike]
    return ", ".join(f"{n.replace('_', ' ')} {_value(rows[0].case[n])}" for n in named) or None


def _method(row: Result) -> str:
    return f"{row.method} ({row.note})" if row.note else row.method


def _value(value: Value) -> str:
    if value is None:
        return _NONE
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _spread(spread: Spread) -> str:
    median = number(spread.median)
    if spread.min == spread.max:
        return median
    return f"{median} ({number(spread.min)}–{number(spread.max)})"


def _median(spread: Spread) -> str:
    return number(spread.median)


def number(value: float) -> str:
    """Return a figure as it is shown: thousands in full, all else to four places."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
