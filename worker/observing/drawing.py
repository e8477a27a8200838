"""Panels of a dashboard on matplotlib's axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm, to_hex
from matplotlib.dates import AutoDateLocator, DateFormatter
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator, MultipleLocator

from worker.observing.answers import Series, Span
from worker.observing.dashboard import Panel
from worker.observing.units import shown

INK, FAINT, GRID = "#24292e", "#6e7680", "#e4e7eb"
SMALL = 7.0
"""Font size of axes and legends, points."""
_LARGE = 22.0
_COLOURS = (*mpl.colormaps["tab10"].colors, *mpl.colormaps["tab20b"].colors)  # type: ignore[attr-defined]
_BLUE = "#1f78c1"
_MOST_IN_CELL = 26
_SHORT_SPAN_S = 300
_TICKS = 5
_TABLE_WIDTH = 0.96
"""Of the axes; matplotlib leaves a margin at the left."""


@dataclass(frozen=True)
class Named:
    """A series and what the legend calls it."""

    name: str
    series: Series

    @property
    def peak(self) -> float:
        """Its largest value; −∞ if it has none."""
        values = self.series.values[np.isfinite(self.series.values)]
        return float(values.max()) if len(values) else -np.inf


def colour(place: int) -> str:
    """Return the colour of the series at a place of the legend."""
    return to_hex(_COLOURS[place % len(_COLOURS)])


def draw(axes: Axes, panel: Panel, found: Sequence[Named], span: Span) -> None:
    """Draw what a panel's queries found; where that is no number at all, say so as Grafana does.

    Args:
        axes: of the panel alone, empty.
        panel: says how.
        found: series in the order of the legend.
        span: the time that they are of.
    """
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(labelsize=SMALL, colors=FAINT, length=0)
    if any(one.series.shows for one in found):
        _DRAWN[panel.type](axes, panel, found, span)
    else:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "No data", ha="center", va="center", color=FAINT, fontsize=11)


def _time_series(axes: Axes, panel: Panel, found: Sequence[Named], span: Span) -> None:
    for place, one in enumerate(found):
        values = np.where(np.isfinite(one.series.values), one.series.values, np.nan)
        axes.plot(_dates(span), values, color=colour(place), linewidth=1.1, clip_on=False)
    _time_axis(axes, span)
    axes.grid(color=GRID, linewidth=0.6)
    lowest = min(float(np.nanmin(one.series.values)) for one in found if one.series.shows)
    highest = max(one.peak for one in found)
    if lowest >= 0:  # a share or a rate is seen against nothing, not against its own least
        axes.set_ylim(0, 1.05 * highest or 1.0)
    axes.yaxis.set_major_locator(_ticks(panel, highest))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, panel.unit)))


def _stat(axes: Axes, panel: Panel, found: Sequence[Named], span: Span) -> None:
    (one, *_) = (each for each in found if each.series.shows)
    values = one.series.values
    known = np.isfinite(values)
    dates = _dates(span)
    axes.fill_between(dates, np.where(known, values, np.nan), color=_BLUE, alpha=0.15, linewidth=0)
    axes.plot(dates, np.where(known, values, np.nan), color=_BLUE, linewidth=0.9, alpha=0.6)
    axes.set_axis_off()
    axes.set_ylim(0, 2.6 * max(float(values[known].max()), 1e-9))
    axes.text(
        0.5,
        0.62,
        shown(float(values[known][-1]), panel.unit),
        transform=axes.transAxes,
        ha="center",
        va="center",
        color=INK,
        fontsize=_LARGE,
    )


def _heat_map(axes: Axes, panel: Panel, found: Sequence[Named], span: Span) -> None:
    """Draw a histogram's cumulative buckets, each less the one below it, row by row."""
    rows = sorted(found, key=lambda one: float(one.series.labels["le"]))
    cumulative = np.nan_to_num(np.stack([row.series.values for row in rows]))
    counts = np.diff(cumulative, axis=0, prepend=0.0).clip(min=0.0)
    axes.pcolormesh(
        _dates(span),
        np.arange(len(rows)) + 0.5,
        np.ma.masked_equal(counts, 0.0),
        cmap="Oranges",
        norm=PowerNorm(0.5, vmin=0.0),
        shading="nearest",
    )
    _time_axis(axes, span)
    axes.set_ylim(0, len(rows))
    labelled = range(len(rows) % 2, len(rows) + 1, 2)
    names = [shown(float(row.series.labels["le"]), panel.unit) for row in rows]
    axes.set_yticks(
        [place for place in labelled if place], [names[place - 1] for place in labelled if place]
    )


def _table(axes: Axes, panel: Panel, found: Sequence[Named], span: Span) -> None:
    """Draw the labels of series, one a line."""
    columns = list(dict.fromkeys(name for one in found for name in one.series.labels))
    columns = [name for name in columns if name not in panel.hidden]
    cells = [[_cut(one.series.labels.get(name, "")) for name in columns] for one in found]
    widths = [
        max(len(text) for text in (name, *(line[place] for line in cells))) + 2
        for place, name in enumerate(columns)
    ]
    axes.set_axis_off()
    drawn = axes.table(
        cellText=cells,
        colLabels=columns,
        colWidths=[_TABLE_WIDTH * width / sum(widths) for width in widths],
        cellLoc="left",
        colLoc="left",
        loc="upper left",
        edges="horizontal",
    )
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(SMALL)
    for cell in drawn.get_celld().values():
        cell.set_edgecolor(GRID)
        cell.get_text().set_color(INK)


_DRAWN: dict[str, Callable[[Axes, Panel, Sequence[Named], Span], None]] = {
    "timeseries": _time_series,
    "stat": _stat,
    "heatmap": _heat_map,
    "table": _table,
}


def _dates(span: Span) -> np.ndarray[tuple[int], np.dtype[np.datetime64]]:
    return (span.times * 1e3).astype("datetime64[ms]")


def _time_axis(axes: Axes, span: Span) -> None:
    short = span.end - span.start < _SHORT_SPAN_S
    dates = _dates(span)
    axes.set_xlim(dates[0], dates[-1])
    locator = AutoDateLocator(minticks=5, maxticks=12)  # type: ignore[no-untyped-call]
    formatter = DateFormatter("%H:%M:%S" if short else "%H:%M")  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(formatter)


def _ticks(panel: Panel, highest: float) -> Locator:
    if panel.unit == "bytes" and highest > 1:  # of which round numbers are powers of two
        return MultipleLocator(2.0 ** math.ceil(math.log2(highest / _TICKS)))
    return MaxNLocator(_TICKS)


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_IN_CELL else text[: _MOST_IN_CELL - 1] + "…"
