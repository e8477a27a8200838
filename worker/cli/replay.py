"""`innerloop replay`: stream a dataset into the topics `catalog` and `clickstream`."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from schemas.errors import DataError, SettingsError
from schemas.topics import Topic
from worker.cli.dataset_options import (
    ColumnsOption,
    EncodingOption,
    EventsOption,
    EventTypeOption,
    FormatOption,
    ItemColumnsOption,
    ItemsOption,
    open_dataset,
    parse_time,
)
from worker.cli.options import (
    BootstrapServersOption,
    ConfigOption,
    PropertyOption,
    settings_from,
)

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from producer.datasets import EventFile, ItemFile, Selection
    from producer.pacing import Pace
    from producer.replay import ReplayReport
    from schemas.settings import Settings

_PICK, _PACE = "Which events", "Pace"
_INTERRUPTED = 130


def replay(
    *,
    events: EventsOption,
    items: ItemsOption = None,
    format_name: FormatOption = None,
    columns: ColumnsOption = None,
    item_columns: ItemColumnsOption = None,
    event_type: EventTypeOption = None,
    encoding: EncodingOption = "utf8",
    users: Annotated[
        Literal["all", "new"],
        typer.Option(
            help="new: only users whose first event comes after the cut.", rich_help_panel=_PICK
        ),
    ] = "all",
    cut: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="The cut, as a quantile of the users' first-event times.",
            rich_help_panel=_PICK,
        ),
    ] = 0.75,
    after_cut: Annotated[
        bool,
        typer.Option("--after-cut", help="Only events from the cut on.", rich_help_panel=_PICK),
    ] = False,
    from_time: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Only events from this time on: ISO 8601 (UTC unless it says otherwise) or a "
            "number since 1970.",
            show_default=False,
            rich_help_panel=_PICK,
        ),
    ] = None,
    until_time: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Only events before this time.",
            show_default=False,
            rich_help_panel=_PICK,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Most events.", show_default=False, rich_help_panel=_PICK),
    ] = None,
    catalog: Annotated[
        bool,
        typer.Option("--catalog/--no-catalog", help="Send items first.", rich_help_panel=_PICK),
    ] = True,
    catalog_only: Annotated[
        bool,
        typer.Option("--catalog-only", help="Send no events.", rich_help_panel=_PICK),
    ] = False,
    speed_up: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Keep the gaps between events, X times shorter. (default: no gaps)",
            show_default=False,
            rich_help_panel=_PACE,
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            help="Send N events a second instead.",
            show_default=False,
            rich_help_panel=_PACE,
        ),
    ] = None,
    times: Annotated[
        Literal["original", "now"],
        typer.Option(
            help="now: replace each event's time by the moment it is sent.",
            rich_help_panel=_PACE,
        ),
    ] = "original",
    config: ConfigOption = None,
    bootstrap_servers: BootstrapServersOption = None,
    properties: PropertyOption = None,
) -> None:
    """Stream a dataset's items into `catalog`, then its events into `clickstream`.

    Events are sent in time order and keyed by user. Sending the same file again repeats the same
    event ids, and a worker drops those among a user's latest (setting worker.recent_events); after
    an interruption, --from-time goes on where it ended.

    User ids are hashed first if the setting privacy.user_id_key is set.
    """
    from producer.datasets import Selection
    from producer.pacing import Pace

    if catalog_only and not catalog:
        raise SettingsError("--catalog-only and --no-catalog leave nothing to send; drop one")
    settings = settings_from(config, bootstrap_servers, properties)
    selection = Selection(
        users,
        cut,
        after_cut,
        parse_time("--from-time", from_time),
        parse_time("--until-time", until_time),
        limit,
    )
    pace = Pace(rate, speed_up)
    event_file, item_file = open_dataset(
        events,
        items,
        format_name=format_name,
        columns=columns,
        item_columns=item_columns,
        event_type=event_type,
        encoding=encoding,
    )
    report = _run(
        settings,
        None if catalog_only else event_file,
        item_file if catalog else None,
        selection=selection,
        pace=pace,
        times=times,
    )
    if report.interrupted:
        raise typer.Exit(_INTERRUPTED)


def _run(
    settings: Settings,
    events: EventFile | None,
    items: ItemFile | None,
    *,
    selection: Selection,
    pace: Pace,
    times: Literal["original", "now"],
) -> ReplayReport:
    from rich.console import Console

    from producer.replay import replay_dataset

    console = Console(stderr=True)
    total = 0
    if events:
        with console.status(f"Reading {events.path.name}"):
            total = events.count(selection)
        if not total:
            raise DataError(
                f"none of the {events.survey.usable:,} events in {events.path} is selected; "
                "widen --users, --after-cut, --from-time or --until-time"
            )
    with _stop_on_signals() as stop, _progress(console, total) as tell:
        report = replay_dataset(
            settings,
            events,
            items,
            selection,
            pace=pace,
            times=times,
            stop=stop,
            progress=tell,
        )
    _show(report, events, pace)
    return report


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """Set the event on Ctrl-C or SIGTERM; a second signal acts as it otherwise would."""
    stop = threading.Event()
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        restore()

    for number in previous:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        restore()


@contextmanager
def _progress(console: Console, events: int) -> Iterator[Callable[[Topic, int], None]]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    totals = {Topic.CATALOG: None, Topic.CLICKSTREAM: events}
    tasks: dict[Topic, TaskID] = {}
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    ) as progress:

        def tell(topic: Topic, sent: int) -> None:
            if topic not in tasks:
                tasks[topic] = progress.add_task(topic.value, total=totals[topic])
            progress.update(tasks[topic], completed=sent)

        yield tell


def _show(report: ReplayReport, events: EventFile | None, pace: Pace) -> None:
    sent = f"{report.items_sent:,} items and {report.events_sent:,} events sent"
    if report.events_sent:
        sent += f" in {report.seconds:.1f} s ({report.events_per_second:,.0f} events/s)"
    typer.echo(f"Interrupted: {sent}." if report.interrupted else f"{sent}.")
    if pace != type(pace)():
        typer.echo(f"Events were sent at most {report.worst_lateness:.3f} s after they were due.")
    for reason, count in report.skipped.items():
        typer.echo(f"Skipped {count:,} rows: {reason}.")
    for name, count in events.survey.unused.items() if events else ():
        typer.echo(f"Dropped or cut {count:,} values that the schema does not allow: {name}.")
