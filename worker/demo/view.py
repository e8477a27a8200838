"""The live view, for a terminal and for a pipe."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from schemas.settings import WorkerSettings
from worker.demo.frame import Frame
from worker.demo.scrape import LiveQuality, WorkerSample
from worker.demo.text import NOTHING, latency_text, loss_text, rate_text
from worker.demo.visitors import Example
from worker.events_seen import EVENTS_SEEN_BUCKETS

TOP = WorkerSettings().top_k
"""Length of the lists; the demo's worker runs with the defaults."""

QUALITY_TITLE = f"HR@{TOP} by how many items the visitor had taken before"

# The protocol's last bucket ends at the last event that it scores; a live worker counts on.
_RANGES = {label: f"{first}-{last}" for label, first, last in EVENTS_SEEN_BUCKETS if last > first}
WIDTH = 80
_ITEM_LINES = 5


def render(frame: Frame) -> RenderableType:
    """Return the live view of one moment."""
    return Group(
        Panel(_figures(frame), title="innerloop, live", width=WIDTH, box=box.ROUNDED),
        Panel(quality_table(frame.worker), title=QUALITY_TITLE, width=WIDTH, box=box.ROUNDED),
        Panel(_example(frame.example), title="one visitor, now", width=WIDTH, box=box.ROUNDED),
    )


def line(frame: Frame) -> str:
    """Return the same in one line, for where there is no terminal."""
    quality = frame.worker.overall
    return (
        f"{frame.seconds:4.0f} s  answered {frame.answered:,} of {frame.expected:,}"
        f"  {frame.recent_rate:,.0f} events/s"
        f"  p50/p99 {latency_text(frame.recent_latency)}"
        f"  HR@{TOP} {rate_text(quality.hit_rate)}"
        f" (popularity {rate_text(quality.popularity_hit_rate)})"
    )


def quality_table(worker: WorkerSample) -> Table:
    """Return live hit rates by events seen, of the worker and of popularity."""
    table = Table(box=None, pad_edge=False, expand=True)
    table.add_column("")
    buckets = {**worker.quality, "all": worker.overall}
    for label in buckets:
        table.add_column(_RANGES.get(label, label), justify="right", header_style="dim")
    rows = {
        "innerloop": ([rate_text(q.hit_rate) for q in buckets.values()], "bold green"),
        "popularity": ([rate_text(q.popularity_hit_rate) for q in buckets.values()], ""),
        "gain": ([_gain(q) for q in buckets.values()], "green"),
        "events": ([f"{q.events:,.0f}" for q in buckets.values()], "dim"),
    }
    for name, (cells, style) in rows.items():
        table.add_row(name, *cells, style=style)
    return table


def _figures(frame: Frame) -> RenderableType:
    worker = frame.worker
    progress = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=max(1, frame.expected), completed=frame.answered, width=10)
    progress.add_row(f"{frame.answered:,} of {frame.expected:,}", bar)
    speed = Text(f"{frame.recent_rate:,.0f} events/s", style="bold")
    latency = Text.assemble((latency_text(frame.recent_latency), "bold"), (" (p50 / p99)", "dim"))
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(width=28)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_row("answered", progress, "visitors", f"{frame.visitors:,.0f}")
    table.add_row("speed", speed, "waiting", f"{frame.unanswered:,} events")
    loss = loss_text(worker.loss_before, worker.loss_after)
    table.add_row("event to list", latency, "loss by step", loss)
    return table


def _gain(quality: LiveQuality) -> str:
    if not quality.popularity_hits:
        return NOTHING
    return f"{quality.hits / quality.popularity_hits - 1:+.0%}"


def _example(example: Example | None) -> RenderableType:
    if example is None:
        return Text("waiting for a visitor with a few items …", style="dim")
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, max_width=36)
    table.add_column(no_wrap=True, max_width=38, style="dim")
    for title, reason in example.recommended:
        table.add_row(title, reason)
    for _ in range(_ITEM_LINES - len(example.recommended)):
        table.add_row("", "")
    latest, *before = reversed(example.last_items)
    taken = Text.assemble(
        (f"item {example.events_seen}: ", "dim"),
        (latest, "bold"),
        (f", after {', '.join(before)}" if before else "", "dim"),
        no_wrap=True,
        overflow="ellipsis",
    )
    return Group(taken, Text("recommended now:", style="dim"), table)
