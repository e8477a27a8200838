"""Figures of curves: quality of several models by how much was known, with their bands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from worker.evaluation.cells import Band, Bands
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

METRICS = ("HR@20", "MRR@20")


class Curve(NamedTuple):
    """The quality of a model by how much was known."""

    cells: dict[str, Quality]
    bands: dict[str, Bands] | None


def shown(overall: Mapping[str, Quality], reference: str) -> list[str]:
    """Return the models that there are colours for: the reference, then the best."""
    best = sorted(overall, key=lambda name: (name != reference, -(overall[name].hit_rate or 0.0)))
    return best[: len(COLOURS)]


def curves_figure(
    title: str, names: Sequence[str], rows: Sequence[tuple[str, Mapping[str, Curve]]]
) -> Figure:
    """Return a figure of rows of two plots, one per metric.

    Args:
        title: of the figure; says, too, how many models are not shown.
        names: of the models shown, the one to stand out first.
        rows: what the row is by, and the curve of each model.
    """
    figure, axes = figure_of(len(rows), 2, (11, 1.0 + 3.8 * len(rows)))
    for row, (what, curves) in enumerate(rows):
        for axis, metric in zip(axes[2 * row : 2 * row + 2], METRICS, strict=True):
            _draw(axis, metric, {name: curves[name] for name in names})
            axis.set_xlabel(what)
    left_out = len(rows[0][1]) - len(names)
    if left_out:
        title += f" (the best {len(names)} of {len(rows[0][1])} models)"
    figure.suptitle(title, x=0.01, ha="left")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure


def figure_of(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """Return an empty figure and its axes, row by row; the size is in inches."""
    # Not pyplot: that keeps figures, and looks for a display.
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes:
        axis.set_facecolor("white")
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(visible=True, color="#E3E3E3", linewidth=0.8)
        axis.set_axisbelow(True)
    return figure, axes


def value_of(cell: Quality, metric: str) -> float | None:
    """Return one of `METRICS`."""
    return cell.hit_rate if metric == "HR@20" else cell.reciprocal_rank


def band_of(bands: Bands, metric: str) -> Band | None:
    """Return the band of one of `METRICS`."""
    return bands.hit_rate if metric == "HR@20" else bands.reciprocal_rank


def _draw(axis: Axes, metric: str, curves: Mapping[str, Curve]) -> None:
    labels = list(next(iter(curves.values())).cells)
    for place, (name, curve) in enumerate(curves.items()):
        values = [value_of(cell, metric) for cell in curve.cells.values()]
        at = [x for x, value in enumerate(values) if value is not None]
        axis.plot(
            at,
            [value for value in values if value is not None],
            color=COLOURS[place],
            marker=MARKERS[place],
            markersize=5,
            linewidth=2.4 if place == 0 else 1.4,
            zorder=3 if place == 0 else 2,
            label=name,
        )
        ends = _ends(curve, metric, [labels[x] for x in at])
        if ends is not None:
            axis.fill_between(at, *ends, color=COLOURS[place], alpha=0.13, linewidth=0)
    axis.set_xticks(range(len(labels)), labels)
    axis.set_title(metric, loc="left")
    axis.set_ylim(bottom=0)


def _ends(curve: Curve, metric: str, labels: list[str]) -> tuple[list[float], list[float]] | None:
    if curve.bands is None:
        return None
    bands = [band_of(curve.bands[label], metric) for label in labels]
    present = [band for band in bands if band is not None]
    if len(present) != len(bands):
        return None
    return [low for low, _ in present], [high for _, high in present]
