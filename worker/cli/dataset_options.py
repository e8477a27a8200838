"""Flags of the commands that read datasets, and the readers they add up to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.clickstream import EventType, parse_event_type
from schemas.errors import DataError

if TYPE_CHECKING:
    from producer.datasets import EventFile, ItemFile

_PANEL = "Input"

EventsOption = Annotated[
    Path,
    typer.Option(
        "--events",
        metavar="FILE",
        help="Events: CSV, Parquet, JSON lines or .dat, plain or gzipped.",
        rich_help_panel=_PANEL,
    ),
]
ItemsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--items",
        metavar="FILE",
        help="Items; may be given several times, for a catalogue in parts. Formats that describe "
        "the item in each event (rees46, online-retail) need none.",
        rich_help_panel=_PANEL,
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="canonical, rees46, retailrocket, amazon2018, amazon2023, online-retail, "
        "online-retail-ii, movielens or movielens-dat. (default: told by the columns)",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="OURS=THEIRS,…",
        help="Names of the columns in an events file of no known format, such as "
        "user_id=visitor,item_id=sku,timestamp=time.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
ItemColumnsOption = Annotated[
    str | None,
    typer.Option(
        "--item-columns",
        metavar="OURS=THEIRS,…",
        help="The same for the items, such as item_id=sku,title=name.",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
EventTypeOption = Annotated[
    str | None,
    typer.Option(
        "--event-type",
        metavar="TYPE",
        help="What every event is, if the file has no such column: view, purchase, …",
        show_default=False,
        rich_help_panel=_PANEL,
    ),
]
EncodingOption = Annotated[
    str,
    typer.Option("--encoding", help="Of text files, such as latin-1.", rich_help_panel=_PANEL),
]


def open_dataset(
    events: Path,
    items: Sequence[Path] | None,
    *,
    format_name: str | None = None,
    columns: str | None = None,
    item_columns: str | None = None,
    event_type: str | None = None,
    encoding: str = "utf8",
) -> tuple[EventFile, ItemFile | None]:
    """Open the files of a dataset as the flags say; None where it comes without items.

    Raises:
        DataError: a flag is wrong, a file cannot be read, or its columns are no known format's.
    """
    from producer.datasets import EventFile, ReadOptions, items_from_events, open_items
    from producer.datasets.canonical import ITEM_COLUMNS
    from producer.datasets.columns import parse_columns
    from producer.datasets.events import EVENT_COLUMNS

    file = EventFile(
        events,
        ReadOptions(
            format_name,
            parse_columns(columns, EVENT_COLUMNS),
            _event_type(event_type),
            encoding,
        ),
    )
    if not items:
        return file, items_from_events(file)
    options = ReadOptions(format_name, parse_columns(item_columns, ITEM_COLUMNS), encoding=encoding)
    return file, open_items(items, options)


def parse_time(flag: str, text: str | None) -> int | None:
    """Return a time given on the command line as milliseconds since the epoch.

    Raises:
        DataError: it is no time.
    """
    if text is None:
        return None
    import polars as pl

    from producer.datasets.times import parse_times

    millis = parse_times(pl.Series([text]))[0]
    if millis is None:
        raise DataError(
            f"{flag} {text!r} is no time; right would be 2019-10-01, 2019-10-01T08:00:00Z or "
            "1569916800"
        )
    return int(millis)


def _event_type(name: str | None) -> EventType | None:
    try:
        return None if name is None else parse_event_type(name)
    except ValueError as error:
        raise DataError(f"--event-type: {error}") from None
