"""A report as a picture. matplotlib is an extra: `pip install "innerloop[plots]"`."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import BenchError
from worker.bench.report import Report, Result
from worker.bench.table import number
from worker.evaluation.curves import COLOURS, MARKERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DPI = 150
_DASHES = ("-", "--", ":", "-.")
_MOST_BANDS = 8
"""Lines whose ranges are drawn; of more there are the medians alone."""


@dataclass(frozen=True)
class _View:
    """What of a benchmark's report is drawn."""

    figures: tuple[str, ...]
    """Of these, those that a result has; one line each."""
    label: str
    over: str | None = None
    """Entry of the case along the x axis; None draws bars."""
    log: bool = True


_VIEWS = {
    "floor": _View(("us_per_event", "outside_adapt_and_rank_us"), "µs per event"),
    "pipeline": _View(("p50_ms", "p99_ms", "p99_9_ms"), "ms from due to answered", "load"),
    "ranking": _View(("users_per_s",), "users ranked per second", "items"),
    "kernel": _View(("users_per_s",), "users adapted per second", "users"),
    "engines": _View(("events_per_s",), "events per second", log=False),
}
_GROWTH = {"users": "users", "catalogue": "items", "partitions": "partitions", "workers": "workers"}


def draw(report: Report, folder: Path) -> list[Path]:
    """Draw a report's picture as PNG files into a folder, made if need be.

    Raises:
        BenchError: matplotlib is not installed, or the benchmark has no picture.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise BenchError('plots need matplotlib: pip install "innerloop[plots]"')
    folder.mkdir(parents=True, exist_ok=True)
    if report.benchmark == "growth":
        axes = [axis for axis in _GROWTH if any(r.method == axis for r in report.results)]
        return [
            _draw(
                [result for result in report.results if result.method == axis],
                _View(("us_per_event",), "µs per event", _GROWTH[axis]),
                report,
                folder / f"growth_{axis}.png",
            )
            for axis in axes
        ]
    if report.benchmark not in _VIEWS:
        raise BenchError(f"there is no picture of the benchmark {report.benchmark!r}")
    view = _VIEWS[report.benchmark]
    return [_draw(report.results, view, report, folder / f"{report.benchmark}.png")]


def _draw(results: list[Result], view: _View, report: Report, path: Path) -> Path:
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    shown = [result for result in results if set(view.figures) & result.figures.keys()]
    if view.over is None:
        _bars(axes, shown, view)
    else:
        _lines(axes, shown, view, view.over)
    hardware = report.hardware
    where = hardware.gpu.name if hardware.gpu else f"{hardware.cores} × {hardware.cpu}"
    axes.set_title(f"{path.stem.replace('_', ' over ')}: {where}", fontsize=10)
    axes.grid(visible=True, alpha=0.3)
    figure.savefig(path, dpi=_DPI)
    return path


def _bars(axes: Axes, results: list[Result], view: _View) -> None:
    """One line a figure: a dot with its range, for a bar on a logarithmic axis begins nowhere."""
    shown = [
        (result.method if name == view.figures[0] else f"{result.method}: {name}", spread)
        for result in results
        for name in view.figures
        if (spread := result.figures.get(name)) is not None
    ]
    for row, (_, spread) in enumerate(shown):
        axes.plot([spread.min, spread.max], [row, row], color=COLOURS[0], linewidth=2)
        axes.plot([spread.median], [row], color=COLOURS[0], marker="o", markersize=8)
        axes.annotate(
            number(spread.median),
            (spread.median, row),
            textcoords="offset points",
            xytext=(0, 8),
            ha="center",
        )
    axes.set_yticks(range(len(shown)), [label.replace("_", " ") for label, _ in shown])
    axes.set_ylim(len(shown) - 0.5, -0.7)
    axes.set_xlabel(view.label)
    if view.log:
        axes.set_xscale("log")
    else:
        axes.set_xlim(left=0)


def _lines(axes: Axes, results: list[Result], view: _View, over: str) -> None:
    """One line a series: its colour tells the method or figure, its dashes and marker the case."""
    series = _series(results, view, over)
    names = list(dict.fromkeys(name for name, _ in series))
    cases = list(dict.fromkeys(case for _, case in series))
    for (name, case), points in series.items():
        points.sort()
        colour, number = COLOURS[names.index(name) % len(COLOURS)], cases.index(case)
        xs, medians, lowest, highest = zip(*points, strict=True)
        axes.plot(
            xs,
            medians,
            label=f"{name}, {case}" if case else name,
            color=colour,
            linestyle=_DASHES[number % len(_DASHES)],
            marker=MARKERS[number % len(MARKERS)],
        )
        if len(series) <= _MOST_BANDS:
            axes.fill_between(xs, lowest, highest, color=colour, alpha=0.15)
    axes.set_xlabel(over)
    axes.set_ylabel(view.label)
    if view.log:
        axes.set_yscale("log")
    if over != "load":
        axes.set_xscale("log")
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _series(
    results: list[Result], view: _View, over: str
) -> dict[tuple[str, str], list[tuple[float, float, float, float]]]:
    """Return points (x, median, smallest, largest) by method or figure, and by the case."""
    differing = {
        name
        for name in {key for r in results for key in r.case}
        if name not in {over, "offered_per_s"} and len({r.case.get(name) for r in results}) > 1
    }
    found: dict[tuple[str, str], list[tuple[float, float, float, float]]] = {}
    for result in results:
        case = ", ".join(f"{n} {result.case[n]}" for n in sorted(differing & result.case.keys()))
        for name in view.figures:
            if name in result.figures and isinstance(x := result.case.get(over), int | float):
                spread = result.figures[name]
                line = (result.method if len(view.figures) == 1 else name).replace("_", " ")
                point = (x, spread.median, spread.min, spread.max)
                found.setdefault((line, case), []).append(point)
    return found
