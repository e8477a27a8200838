"""Quality on scenarios as tables for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rich.console import RenderableType
from rich.table import Table

from worker.evaluation.grid import grid, number
from worker.evaluation.scenario_report import ScenarioModel, ScenarioReport
from worker.ranking_quality import Quality

ABOVE = "†"
"""Marks the models that were trained on the scenarios."""


def scenario_tables(report: ScenarioReport) -> list[RenderableType]:
    """Return the section: quality on each scenario, and HR@20 by events of it seen before."""
    return [
        _each(report),
        _curve(report, "events of it that its user had had", lambda m: m.together.by_user_events),
        _curve(
            report,
            "events that it had had since the cut, of all users",
            lambda m: m.together.by_scenario_events,
        ),
    ]


def _each(report: ScenarioReport) -> Table:
    columns = [f"{label}\n({counts.scored_events:,})" for label, counts in report.scenarios.items()]
    title = f"Scenarios by {report.column}, HR@20 / MRR@20 (events scored)"
    held_out = [name for name, found in report.scenarios.items() if not found.training_events]
    if held_out:
        title += f"\nnot trained on: {', '.join(held_out)}"
    if report.trained_on_them:
        title += f" ({ABOVE} but for these models)"
    table = grid(title, ("together", *columns, "elsewhere"))
    for name, model in report.models.items():
        each = (found.overall for found in model.each.values())
        table.add_row(
            _marked(name, report), *map(_both, (model.together.overall, *each, model.elsewhere))
        )
    return table


def _curve(
    report: ScenarioReport, of: str, cells: Callable[[ScenarioModel], dict[str, Quality]]
) -> Table:
    first = cells(report.models[report.reference])
    columns: Iterable[str] = (f"{label}\n({cell.n:,})" for label, cell in first.items())
    table = grid(f"Scenarios together, HR@20 by {of}", columns)
    for name, model in report.models.items():
        table.add_row(
            _marked(name, report), *(number(cell.hit_rate) for cell in cells(model).values())
        )
    return table


def _marked(name: str, report: ScenarioReport) -> str:
    return f"{name} {ABOVE}" if name in report.trained_on_them else name


def _both(cell: Quality) -> str:
    return f"{number(cell.hit_rate)} / {number(cell.reciprocal_rank)}"
