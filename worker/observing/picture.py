"""A dashboard as a picture: its panels where Grafana puts them, with what a Prometheus answers.

Not Grafana's own rendering, but the same queries in the same places. matplotlib is an extra:
`pip install "innerloop[plots]"`.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image

from worker.observing.answers import Answers, Span
from worker.observing.dashboard import Dashboard, Panel
from worker.observing.drawing import INK, SMALL, Named, colour, draw

_COLUMNS = 24
_CELL_W, _CELL_H = 0.58, 0.3
"""A cell of Grafana's grid, inches."""
_GAP, _HEAD, _FOOT = 0.05, 0.28, 0.22
_LEFT, _RIGHT = 0.62, 0.15
_LINE = 0.15
"""Of a legend, inches."""
_LETTER = 0.056
"""Mean width of a legend's letters, inches."""
_MOST_LINES = 3
_DPI = 90
_INKS = 96
"""Different colours of a file: enough for lines on white, and a third of the bytes."""


@dataclass(frozen=True)
class Box:
    """A rectangle in a figure, inches from the lower left corner."""

    left: float
    bottom: float
    width: float
    height: float

    def within(self, *, left: float, bottom: float, right: float, top: float) -> Box:
        """Return what is left without margins."""
        width, height = self.width - left - right, self.height - bottom - top
        return Box(self.left + left, self.bottom + bottom, width, height)


@dataclass(frozen=True)
class Picture:
    """A dashboard, drawn."""

    figure: Figure
    empty: tuple[str, ...]
    """Titles of the panels without any number."""

    def save(self, path: Path) -> None:
        """Write it as a PNG file, whose folder is made if need be."""
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn = io.BytesIO()
        self.figure.savefig(drawn, format="png")
        with Image.open(drawn) as image:
            inked = image.convert("RGB").quantize(_INKS, dither=Image.Dither.NONE)
        inked.save(path, optimize=True)


def draw_dashboard(
    dashboard: Dashboard, answers: Answers, span: Span, rate_interval_s: float
) -> Picture:
    """Ask every panel's queries, and draw what is answered.

    Args:
        dashboard: what to ask, and where to draw it.
        answers: of a Prometheus.
        span: the time to show.
        rate_interval_s: Grafana's `$__rate_interval`, seconds.

    Raises:
        DashboardError: a query has a variable that the dashboard does not.
        PrometheusError: it does not answer, or refuses a query.
    """
    rows = max(panel.grid_pos.y + panel.grid_pos.h for panel in dashboard.panels)
    height = rows * _CELL_H + 2 * _GAP
    figure = Figure(figsize=(_COLUMNS * _CELL_W + 2 * _GAP, height), dpi=_DPI, facecolor="#f4f5f5")
    empty = []
    for panel in dashboard.panels:
        place = panel.grid_pos
        box = Box(
            place.x * _CELL_W + _GAP,
            height - _GAP - (place.y + place.h) * _CELL_H,
            place.w * _CELL_W,
            place.h * _CELL_H,
        ).within(left=_GAP, bottom=_GAP, right=_GAP, top=_GAP)
        if panel.type == "row":
            _write(figure, box.left, box.bottom + 0.04, f"▾ {panel.title}", size=10.0, bold=True)
            continue
        found = _ask(dashboard, panel, answers, span, rate_interval_s)
        if not any(one.series.shows for one in found):
            empty.append(panel.title)
        _draw_panel(figure, box, panel, found, span)
    return Picture(figure, tuple(empty))


def _ask(
    dashboard: Dashboard, panel: Panel, answers: Answers, span: Span, rate_interval_s: float
) -> list[Named]:
    found = []
    for target in panel.targets:
        ask = answers.now if target.instant else answers.over_time
        for series in ask(dashboard.filled(target.expr, rate_interval_s), span):
            found.append(Named(target.name_of(series.labels), series))
    return found


def _draw_panel(figure: Figure, box: Box, panel: Panel, found: Sequence[Named], span: Span) -> None:
    figure.add_artist(
        Rectangle(
            _share(figure, box.left, box.bottom),
            *_share(figure, box.width, box.height),
            transform=figure.transFigure,
            facecolor="white",
            edgecolor="#dcdfe3",
            linewidth=0.8,
            zorder=-1,
        )
    )
    _write(figure, box.left + 0.1, box.bottom + box.height - 0.2, panel.title, size=8.5, bold=True)
    inner = box.within(left=0.1, bottom=0.08, right=0.1, top=_HEAD)
    if panel.type in ("timeseries", "heatmap"):
        inner = box.within(left=_LEFT, bottom=_FOOT, right=_RIGHT, top=_HEAD)
    if panel.type == "timeseries" and any(one.series.shows for one in found):
        found = sorted(found, key=lambda one: one.peak, reverse=True)
        lines = _legend(figure, box, found)
        inner = inner.within(left=0, bottom=lines * _LINE + 0.05, right=0, top=0)
    corner, size = (
        _share(figure, inner.left, inner.bottom),
        _share(figure, inner.width, inner.height),
    )
    axes = figure.add_axes((*corner, *size), label=panel.title)
    draw(axes, panel, found, span)


def _legend(figure: Figure, box: Box, found: Sequence[Named]) -> int:
    """Name series below a panel, in the order of their colours; return how many lines it takes."""
    room = box.width - 0.2
    widest = max(len(one.name) for one in found) * _LETTER + 0.32
    columns = max(1, min(len(found), math.floor(room / widest)))
    lines = min(_MOST_LINES, math.ceil(len(found) / columns))
    entries = [(one.name, colour(place)) for place, one in enumerate(found)]
    if len(entries) > lines * columns:
        shown = lines * columns - 1
        entries = [*entries[:shown], (f"and {len(entries) - shown} more", "white")]
    for place, (name, ink) in enumerate(entries):
        line, column = divmod(place, columns)
        x = box.left + 0.1 + column * room / columns
        y = box.bottom + 0.08 + (lines - 1 - line) * _LINE
        _mark(figure, x, y + 0.035, ink)
        _write(figure, x + 0.18, y, name, size=SMALL)
    return lines


def _mark(figure: Figure, x: float, y: float, ink: str) -> None:
    (left, bottom), (right, _) = _share(figure, x, y), _share(figure, x + 0.13, y)
    line: Artist = Line2D(
        [left, right], [bottom, bottom], color=ink, linewidth=2, transform=figure.transFigure
    )
    figure.add_artist(line)


def _write(
    figure: Figure,
    x: float,
    y: float,
    text: str,
    *,
    size: float,
    bold: bool = False,
) -> None:
    weight = "bold" if bold else "normal"
    figure.text(*_share(figure, x, y), text, fontsize=size, fontweight=weight, color=INK)


def _share(figure: Figure, x: float, y: float) -> tuple[float, float]:
    """Return inches as shares of the figure's width and height."""
    width, height = figure.get_size_inches()
    return x / float(width), y / float(height)
