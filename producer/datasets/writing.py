"""Write datasets as innerloop's own files, which training and evaluation read."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

from producer.datasets.events import EventFile
from producer.datasets.items import ItemFile
from producer.datasets.normalise import OPTIONAL_FIELDS

EVENTS_NAME = "events.csv.gz"
ITEMS_NAME = "items.csv.gz"

_ITEM_BATCH = 10_000
_LEVEL_SEPARATOR = " > "


def write_tables(tables: Iterable[pl.DataFrame], path: Path) -> int:
    """Write tables of the same columns as one gzipped CSV file; return the number of rows.

    The same rows give the same bytes: the file holds no time and no name.
    """
    rows = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, 0) as file:
        for number, table in enumerate(tables):
            file.write(table.write_csv(include_header=number == 0).encode())
            rows += table.height
    return rows


def write_events(file: EventFile, path: Path) -> int:
    """Write a file's events in time order, in canonical columns; return how many.

    Raises:
        DataError: the file is damaged, or holds no event.
    """
    return write_tables(map(_canonical_events, file.frames()), path)


def write_items(file: ItemFile, path: Path) -> int:
    """Write a file's items in canonical columns; return how many.

    Raises:
        DataError: the file is damaged.
    """
    return write_tables(_item_tables(file), path)


def _canonical_events(batch: pl.DataFrame) -> pl.DataFrame:
    whole = batch["time"] % 1000 == 0
    seconds = batch["time"] // 1000
    # Seconds, as training reads them; with a fraction only where there is one.
    timestamp = seconds if whole.all() else batch["time"] / 1000
    return batch.select(
        "user_id",
        "item_id",
        pl.col("type").alias("event_type"),
        timestamp.alias("timestamp"),
        *OPTIONAL_FIELDS,
        "consent",
    )


def _item_tables(file: ItemFile) -> Iterator[pl.DataFrame]:
    schema = {
        "item_id": pl.String,
        "title": pl.String,
        "brand": pl.String,
        "categories": pl.String,
        "price": pl.Float64,
        "available": pl.Boolean,
    }
    rows: list[tuple[object, ...]] = []
    for item in file.items():
        categories = _LEVEL_SEPARATOR.join(item.categories)
        rows.append((item.item_id, item.title, item.brand, categories, item.price, item.available))
        if len(rows) == _ITEM_BATCH:
            yield pl.DataFrame(rows, schema, orient="row")
            rows = []
    yield pl.DataFrame(rows, schema, orient="row")
