"""An evaluation as a table for people and as JSON for programs."""

from __future__ import annotations

from pathlib import Path

import msgspec
from rich.table import Table

from worker.evaluation.evaluate import Report
from worker.evaluation.metrics import EVENTS_SEEN_BUCKETS
from worker.ranking_quality import Quality


def table(report: Report) -> Table:
    """Return HR@20 / MRR@20 of every model, overall and by events seen."""
    protocol = report.protocol
    grid = Table(
        title=(
            f"HR@20 / MRR@20 of {protocol.scored_users:,} new users"
            f" ({protocol.scored_events:,} events, {protocol.items:,} items)"
        ),
        caption="columns: how many events of the user came before"
        + ("; items already seen are left out" if protocol.exclude_seen else ""),
    )
    grid.add_column("model")
    for name in ("overall", *(label for label, _, _ in EVENTS_SEEN_BUCKETS)):
        grid.add_column(name, justify="right")
    grid.add_column("seconds", justify="right")
    for name, scores in report.models.items():
        cells = [scores.overall, *scores.by_events_seen.values()]
        seconds = "" if scores.seconds is None else f"{scores.seconds:.1f}"
        grid.add_row(name, *(_cell(cell) for cell in cells), seconds)
    return grid


def write_json(report: Report, path: Path) -> None:
    """Write the report as indented JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")


def _cell(scores: Quality) -> str:
    if scores.hit_rate is None or scores.reciprocal_rank is None:
        return "–"
    return f"{scores.hit_rate:.3f}/{scores.reciprocal_rank:.3f}"
