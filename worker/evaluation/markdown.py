"""A summary of several reports as Markdown, ready to be pasted into a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from worker.evaluation.grid import NONE
from worker.evaluation.seeds import CellSummary, DifferenceSummary, Spread, Summary
from worker.evaluation.tables import short_p


def summary_markdown(summary: Summary) -> str:
    """Return the tables of a summary: overall with differences, and by events seen."""
    seeds = ", ".join("none" if seed is None else str(seed) for seed in summary.seeds)
    parts = [
        f"Mean ± sample standard deviation over {len(summary.reports)} reports (seeds {seeds}).",
        _overall(summary),
        _by_events_seen(summary),
    ]
    if summary.left_out:
        parts.append(f"Left out, as not in every report: {', '.join(summary.left_out)}.")
    return "\n\n".join(parts) + "\n"


def _overall(summary: Summary) -> str:
    header = ["model", "HR@20", "MRR@20"]
    if summary.reference is not None:
        less = f"{summary.reference} less it"
        header += [f"HR@20, {less}", "worst p", "worst McNemar p", f"MRR@20, {less}", "worst p"]
    rows = []
    for name, model in summary.models.items():
        row = [name, _spread(model.overall.hit_rate), _spread(model.overall.reciprocal_rank)]
        if summary.reference is not None:
            row += _difference_columns(summary, name)
        rows.append(row)
    return _table(header, rows)


def _difference_columns(summary: Summary, name: str) -> list[str]:
    if name not in summary.against:
        return [""] * 5
    found = summary.against[name].overall
    mcnemar = NONE if found.worst_mcnemar_p is None else short_p(found.worst_mcnemar_p)
    return [*_difference(found.hit_rate), mcnemar, *_difference(found.reciprocal_rank)]


def _difference(found: DifferenceSummary | None) -> tuple[str, str]:
    if found is None:
        return NONE, NONE
    return _spread(found.difference, "+.4f"), short_p(found.worst_p)


def _by_events_seen(summary: Summary) -> str:
    labels = list(next(iter(summary.models.values())).by_events_seen)
    rows = [
        [name, *(_cell(model.by_events_seen[label]) for label in labels)]
        for name, model in summary.models.items()
    ]
    return _table(["HR@20 / MRR@20 by events seen", *labels], rows)


def _cell(cell: CellSummary) -> str:
    return f"{_spread(cell.hit_rate)} / {_spread(cell.reciprocal_rank)}"


def _spread(found: Spread | None, form: str = ".3f") -> str:
    if found is None:
        return NONE
    digits = form.removeprefix("+")
    return f"{_short(found.mean, form)} ±{_short(found.deviation, digits)}"


def _short(value: float, form: str) -> str:
    """Format a number without the zero before its point."""
    text = format(value, form)
    return text.replace("0.", ".", 1) if text.lstrip("+-").startswith("0.") else text


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
