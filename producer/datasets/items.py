"""Read items files of any known format as a stream of `CatalogItem`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from producer.datasets.canonical import CANONICAL
from producer.datasets.cells import text
from producer.datasets.columns import rename_columns
from producer.datasets.events import EventFile, ReadOptions
from producer.datasets.format import DatasetFormat, require_columns
from producer.datasets.normalise import MAX_ID
from producer.datasets.registry import detect_items_format, format_named
from producer.datasets.tables import batches, columns_of, open_table
from schemas.canonical_items import catalog_item_from_row
from schemas.catalog import CatalogItem
from schemas.errors import DataError

NO_ITEM = "no item_id"
LONG_ITEM = f"item_id longer than {MAX_ID} characters"
REPEATED_ITEM = "item_id that an earlier row had"


class ItemFile:
    """The items of a dataset: from items files, or from the descriptions in an events file.

    Args:
        path: the file to name in errors.
        frame: columns that `schemas.canonical_items.catalog_item_from_row` reads.
        format_name: what the file was read as.
    """

    def __init__(self, path: Path, frame: pl.LazyFrame, format_name: str) -> None:
        self.path = path
        self.format_name = format_name
        self.skipped: Counter[str] = Counter()
        """Rows that gave no item, by reason; complete once `items` has been read to its end."""
        self._frame = frame

    def items(self) -> Iterator[CatalogItem]:
        """Return the items in the file's order, each id once (its first row counts).

        Raises:
            DataError: the file is damaged.
        """
        self.skipped.clear()
        seen: set[str] = set()
        for batch in batches(self._frame.with_columns(item_id=text("item_id")), self.path):
            for row in batch.iter_rows(named=True):
                item_id = row["item_id"]
                if item_id is None:
                    self.skipped[NO_ITEM] += 1
                elif len(item_id) > MAX_ID:
                    self.skipped[LONG_ITEM] += 1
                elif item_id in seen:
                    self.skipped[REPEATED_ITEM] += 1
                else:
                    seen.add(item_id)
                    yield catalog_item_from_row(row)


def open_items(paths: Sequence[Path], options: ReadOptions | None = None) -> ItemFile:
    """Open the items files of a dataset; several are read as one, such as RetailRocket's parts.

    Args:
        paths: at least one file; all of one format.
        options: how to read them; `columns` are here those of the items.

    Raises:
        DataError: a file cannot be read, its format is unknown or lacks a column.
    """
    options = options or ReadOptions()
    tables = [_open(path, options) for path in paths]
    found = _recognise(paths[0], columns_of(tables[0], paths[0]), options)
    if found.items is None:
        raise DataError(f"the format {found.name} has no items files")
    for path, table in zip(paths, tables, strict=True):
        require_columns(
            path, columns_of(table, path), found.item_columns, f"the format {found.name}"
        )
    return ItemFile(paths[0], found.items(pl.concat(tables, how="diagonal")), found.name)


def items_from_events(events: EventFile) -> ItemFile | None:
    """Return the items that an events file describes; None if its format describes none."""
    derive = events.format.items_from_events
    if derive is None:
        return None
    return ItemFile(events.path, derive(events.table), events.format.name)


def _open(path: Path, options: ReadOptions) -> pl.LazyFrame:
    table = open_table(path, options.encoding)
    return rename_columns(table, options.columns, path, columns_of(table, path))


def _recognise(path: Path, columns: list[str], options: ReadOptions) -> DatasetFormat:
    if options.columns:
        return CANONICAL
    named = format_named(options.format) if options.format else None
    # Where the events' format has no items files, canonical ones may still come with it.
    return named if named and named.items else detect_items_format(path, columns)
