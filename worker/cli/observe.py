"""`innerloop observe`: the demo, watched by a Prometheus of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_INTERRUPTED = 130


def observe(
    *,
    folder: Annotated[
        Path,
        typer.Option(metavar="DIR", file_okay=False, help="For data, bundle and logs."),
    ] = Path(".innerloop/demo"),
    events: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Most events to replay, 0 for none (default: all of the new visitors).",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        float, typer.Option(min=0.1, max=20_000, help="Events replayed per second.")
    ] = 100.0,
    data_events: Annotated[
        int, typer.Option(min=1, help="Size of the data: three quarters are for training.")
    ] = 180_000,
    epochs: Annotated[int, typer.Option(min=1, help="Most passes of training.")] = 8,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Of Prometheus, 0 for any.")] = 9090,
    rules: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Prometheus' rules (default: deploy/prometheus/rules of the repository).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run the demo with a Prometheus beside it, which has our rules, until Ctrl-C.

    Needs the command `prometheus`. The dashboards are in deploy/grafana/dashboards, for a Grafana
    that reads this Prometheus.
    """
    from rich.console import Console

    from producer.datasets import EventFile, Selection
    from worker.demo.plan import CUT, DemoPlan
    from worker.observing.config import RULES
    from worker.observing.demo import ObservedDemo

    plan = DemoPlan(folder, data_events, events, rate, epochs, seed=0, fresh=False)

    def count_events() -> int:
        return EventFile(plan.events_file).count(Selection("new", CUT, limit=events))

    console = Console()
    try:
        ObservedDemo(plan, console, count_events, port=port, rules=rules or RULES).run()
    except KeyboardInterrupt:
        console.print("interrupted; everything is stopped", style="yellow")
        raise typer.Exit(_INTERRUPTED) from None
