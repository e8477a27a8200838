"""An evaluation as pictures: cold start, quality overall, and popularity bias.

matplotlib is an extra: `pip install "innerloop[plots]"`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import EvaluationError
from worker.evaluation.cells import Band, Bands
from worker.evaluation.recommended import NOTHING
from worker.evaluation.report import ModelReport, Report
from worker.ranking_quality import Quality

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#8C6D1F",
)
"""Told apart with any of the common colour-vision deficiencies, but for the last after Okabe and
Ito, "Color Universal Design" (2002); their yellow is too pale for lines on white."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

_PALE = "#9BB7C9"
_DPI = 150
_METRICS = ("HR@20", "MRR@20")


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
    paths = []
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        figure.savefig(path, dpi=_DPI)
        paths.append(path)
    return paths


def _shown(report: Report) -> dict[str, ModelReport]:
    """Return the models that the curves have colours for: the reference, then the best."""
    reference = next(iter(report.models))
    best = sorted(
        report.models,
        key=lambda name: (name != reference, -(report.models[name].overall.hit_rate or 0.0)),
    )
    return {name: report.models[name] for name in best[: len(COLOURS)]}


def _cold_start(report: Report) -> Figure:
    figure, axes = _figure(2, (11, 4.8))
    shown = _shown(report)
    labels = list(next(iter(shown.values())).by_events_seen)
    for axis, metric in zip(axes, _METRICS, strict=True):
        for place, (name, model) in enumerate(shown.items()):
            cells = list(model.by_events_seen.values())
            values = [_value(cell, metric) for cell in cells]
            at = [x for x, value in enumerate(values) if value is not None]
            heights = [value for value in values if value is not None]
            axis.plot(
                at,
                heights,
                color=COLOURS[place],
                marker=MARKERS[place],
                markersize=5,
                linewidth=2.4 if place == 0 else 1.4,
                zorder=3 if place == 0 else 2,
                label=name,
            )
            ends = _ends(model, metric, [labels[x] for x in at])
            if ends is not None:
                axis.fill_between(at, *ends, color=COLOURS[place], alpha=0.13, linewidth=0)
        axis.set_xticks(range(len(labels)), labels)
        axis.set_xlabel("events of the user seen before")
        axis.set_title(metric, loc="left")
        axis.set_ylim(bottom=0)
    title = f"Cold start: {report.protocol.scored_users:,} new users"
    left_out = len(report.models) - len(shown)
    if left_out:
        title += f" (the best {len(shown)} of {len(report.models)} models)"
    figure.suptitle(title, x=0.01, ha="left")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure


def _ends(
    model: ModelReport, metric: str, labels: list[str]
) -> tuple[list[float], list[float]] | None:
    if model.confidence is None:
        return None
    bands = [_band(model.confidence.by_events_seen[label], metric) for label in labels]
    present = [band for band in bands if band is not None]
    if len(present) != len(bands):
        return None
    return [low for low, _ in present], [high for _, high in present]


def _overall(report: Report) -> Figure:
    names = list(report.models)
    figure, axes = _figure(2, (11, _height(names)))
    for axis, metric in zip(axes, _METRICS, strict=True):
        values = [_value(model.overall, metric) for model in report.models.values()]
        bands = [
            None if model.confidence is None else _band(model.confidence.overall, metric)
            for model in report.models.values()
        ]
        _bars(axis, values, bands, "{:.3f}")
        axis.set_title(metric, loc="left")
    _name_rows(axes, names)
    figure.suptitle(f"{report.protocol.scored_events:,} events of new users", x=0.01, ha="left")
    return figure


def _popularity_bias(report: Report) -> Figure:
    names = list(report.models)
    figure, axes = _figure(3, (12, _height(names)))
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


def _figure(columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    # Not pyplot: that keeps figures, and looks for a display.
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    axes = list(figure.subplots(1, columns))
    for axis in axes:
        axis.set_facecolor("white")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(visible=True, color="#E3E3E3", linewidth=0.8)
        axis.set_axisbelow(True)
    return figure, axes


def _value(cell: Quality, metric: str) -> float | None:
    return cell.hit_rate if metric == "HR@20" else cell.reciprocal_rank


def _band(bands: Bands, metric: str) -> Band | None:
    return bands.hit_rate if metric == "HR@20" else bands.reciprocal_rank
