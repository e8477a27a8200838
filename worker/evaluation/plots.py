"""An evaluation as pictures: cold start, quality overall, popularity bias, and scenarios.

matplotlib is an extra: `pip install "innerloop[plots]"`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import EvaluationError
from worker.evaluation.cells import Band
from worker.evaluation.curves import (
    COLOURS,
    METRICS,
    Curve,
    band_of,
    curves_figure,
    figure_of,
    shown,
    value_of,
)
from worker.evaluation.recommended import NOTHING
from worker.evaluation.report import Report
from worker.evaluation.scenario_report import ScenarioReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PALE = "#9BB7C9"
_DPI = 150


def require_matplotlib() -> None:
    """Refuse to go on without matplotlib.

    Raises:
        EvaluationError: it is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise EvaluationError('--plots needs matplotlib: pip install "innerloop[plots]"')


def draw(report: Report, folder: Path) -> list[Path]:
    """Draw the plots of a report as PNG files into a folder, made if need be.

    Raises:
        EvaluationError: matplotlib is not installed.
    """
    require_matplotlib()
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "cold_start": _cold_start(report),
        "overall": _overall(report),
        "popularity_bias": _popularity_bias(report),
    }
    if report.scenarios is not None:
        figures["scenarios"] = _scenarios(report.scenarios)
    paths = []
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=_DPI)
        paths.append(path)
    return paths


def _cold_start(report: Report) -> Figure:
    curves = {
        name: Curve(
            model.by_events_seen,
            None if model.confidence is None else model.confidence.by_events_seen,
        )
        for name, model in report.models.items()
    }
    order = {name: model.overall for name, model in report.models.items()}
    chosen = shown(order, next(iter(order)))
    title = f"Cold start: {report.protocol.scored_users:,} new users"
    return curves_figure(title, chosen, [("events of the user seen before", curves)])


def _scenarios(report: ScenarioReport) -> Figure:
    models = report.models
    order = {name: model.together.overall for name, model in models.items()}
    by_user = {
        name: Curve(m.together.by_user_events, m.together.confidence.by_user_events)
        for name, m in models.items()
    }
    by_scenario = {
        name: Curve(m.together.by_scenario_events, m.together.confidence.by_scenario_events)
        for name, m in models.items()
    }
    rows = [
        ("events of the scenario that the user had had", by_user),
        ("events that the scenario had had since the cut, of all users", by_scenario),
    ]
    title = f"Scenarios: {report.column}={','.join(report.scenarios)}"
    return curves_figure(title, shown(order, report.reference), rows)


def _overall(report: Report) -> Figure:
    names = list(report.models)
    figure, axes = figure_of(1, 2, (11, _height(names)))
    for axis, metric in zip(axes, METRICS, strict=True):
        values = [value_of(model.overall, metric) for model in report.models.values()]
        bands = [
            None if model.confidence is None else band_of(model.confidence.overall, metric)
            for model in report.models.values()
        ]
        _bars(axis, values, bands, "{:.3f}")
        axis.set_title(metric, loc="left")
    _name_rows(axes, names)
    figure.suptitle(f"{report.protocol.scored_events:,} events of new users", x=0.01, ha="left")
    return figure


def _popularity_bias(report: Report) -> Figure:
    names = list(report.models)
    figure, axes = figure_of(1, 3, (12, _height(names)))
    found = [model.recommended or NOTHING for model in report.models.values()]
    acted = report.acted_on or NOTHING
    columns = (
        ("share of the catalogue recommended", [r.coverage for r in found], None, "{:.2f}"),
        (
            "mean training events of an item",
            [r.popularity for r in found],
            acted.popularity,
            "{:,.0f}",
        ),
        (
            "share outside the bestsellers",
            [r.tail_share for r in found],
            acted.tail_share,
            "{:.2f}",
        ),
    )
    for axis, (title, values, reference, form) in zip(axes, columns, strict=True):
        _bars(axis, values, [None] * len(values), form)
        axis.set_title(title, loc="left", fontsize=10.5)
        if reference is not None:
            axis.axvline(reference, color="#D55E00", linestyle="--", linewidth=1.4)
            axis.set_xlim(right=max(axis.get_xlim()[1], 1.05 * reference))
    _name_rows(axes, names)
    title = "What is recommended (dashed: what users acted on)"
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _bars(
    axis: Axes, values: Sequence[float | None], bands: Sequence[Band | None], form: str
) -> None:
    """Draw one bar per model, the first on top and marked, with its band and its number."""
    for row, (value, band) in enumerate(zip(values, bands, strict=True)):
        if value is None:
            continue
        axis.barh(-row, value, color=COLOURS[0] if row == 0 else _PALE, height=0.72)
        if band is not None:
            axis.plot(band, (-row, -row), color="#222222", linewidth=1.3)
        edge = value if band is None else band[1]
        label = f" {form.format(value)}"
        axis.annotate(label, (edge, -row), va="center", fontsize=9)
    axis.margins(x=0.18)
    axis.set_xlim(left=0)
    axis.grid(visible=False, axis="y")


def _name_rows(axes: Sequence[Axes], names: Sequence[str]) -> None:
    rows = [-row for row in range(len(names))]
    for place, axis in enumerate(axes):
        axis.set_yticks(rows, names if place == 0 else [""] * len(names))


def _height(names: Sequence[str]) -> float:
    """Return the height of a figure with one row per name, inches."""
    return 1.4 + 0.34 * len(names)
