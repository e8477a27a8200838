"""Flags of the commands that run the demo, and what they all do with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from worker.demo.plan import DemoPlan

DEMO_FOLDER = Path(".innerloop/demo")
DATA_EVENTS = 180_000
EPOCHS = 8

FolderOption = Annotated[
    Path,
    typer.Option(metavar="DIR", file_okay=False, help="For data, bundle and logs."),
]
ReplayedEventsOption = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Most events to replay, 0 for none (default: all of the new visitors).",
        show_default=False,
    ),
]
RateOption = Annotated[float, typer.Option(min=0.1, max=20_000, help="Events replayed per second.")]
DataEventsOption = Annotated[
    int, typer.Option(min=1, help="Size of the data: three quarters are for training.")
]
EpochsOption = Annotated[int, typer.Option(min=1, help="Most passes of training.")]

_INTERRUPTED = 130


def replayed_events(plan: DemoPlan) -> Callable[[], int]:
    """Return what counts the events that the replay will publish, once the data is there."""
    from producer.datasets import EventFile, Selection
    from worker.demo.plan import CUT

    return lambda: EventFile(plan.events_file).count(Selection("new", CUT, limit=plan.events))


@contextmanager
def until_interrupted(console: Console) -> Iterator[None]:
    """Have Ctrl-C within the block end the command with a line and the status of an interruption.

    By then every process is stopped.
    """
    try:
        yield
    except KeyboardInterrupt:
        console.print("interrupted; everything is stopped", style="yellow")
        raise typer.Exit(_INTERRUPTED) from None
