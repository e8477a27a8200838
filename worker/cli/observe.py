"""`innerloop observe`: the demo, watched by a Prometheus of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.demo_options import (
    DATA_EVENTS,
    DEMO_FOLDER,
    EPOCHS,
    DataEventsOption,
    EpochsOption,
    FolderOption,
    RateOption,
    ReplayedEventsOption,
    replayed_events,
    until_interrupted,
)


def observe(
    *,
    folder: FolderOption = DEMO_FOLDER,
    events: ReplayedEventsOption = None,
    rate: RateOption = 100.0,
    data_events: DataEventsOption = DATA_EVENTS,
    epochs: EpochsOption = EPOCHS,
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

    from worker.demo.plan import DemoPlan
    from worker.observing.config import RULES
    from worker.observing.demo import ObservedDemo

    console = Console()
    plan = DemoPlan(folder, data_events, events, rate, epochs, seed=0, fresh=False)
    with until_interrupted(console):
        ObservedDemo(plan, console, replayed_events(plan), port=port, rules=rules or RULES).run()
