"""An evaluation as tables for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
from rich import box
from rich.console import Group
from rich.table import Table

from worker.evaluation.evaluate import Report
from worker.evaluation.metrics import EVENTS_SEEN_BUCKETS
from worker.ranking_quality import Quality


def tables(report: Report) -> Group:
    """Return HR@20 and MRR@20 of every model, overall and by events seen: two tables."""
    protocol = report.protocol
    heading = (
        f"{protocol.scored_users:,} new users, {protocol.scored_events:,} events,"
        f" {protocol.items:,} items; columns: events of the user seen before"
    )
    if protocol.exclude_seen:
        heading += "; items already seen are left out"
    return Group(
        heading,
        _table(report, "HR@20", lambda scores: scores.hit_rate),
        _table(report, "MRR@20", lambda scores: scores.reciprocal_rank),
    )


def _table(report: Report, metric: str, value: Callable[[Quality], float | None]) -> Table:
    grid = Table(title=metric, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    grid.add_column("model", no_wrap=True)
    for name in ("overall", *(label for label, _, _ in EVENTS_SEEN_BUCKETS)):
        grid.add_column(name, justify="right", no_wrap=True)
    for name, scores in report.models.items():
        values = (value(cell) for cell in (scores.overall, *scores.by_events_seen.values()))
        grid.add_row(name, *("–" if cell is None else f"{cell:.3f}" for cell in values))
    return grid


def write_json(report: Report, path: Path) -> None:
    """Write the report as indented JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
