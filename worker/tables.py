"""Files of rows: CSV or Parquet, plain or gzipped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from schemas.canonical_items import TEXT_COLUMNS
from schemas.errors import DataError

_ROWS_AT_ONCE = 1 << 18
_ROWS_SEEN = 10_000
"""Rows of a CSV file by which the type of a column is told."""

_CSV_TYPES: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(("user_id", "event_type", *TEXT_COLUMNS), pl.String),
    "timestamp": pl.Float64,
}
"""Columns whose type is known, whatever their first rows look like."""


def read_table(path: Path) -> pl.DataFrame:
    """Read a file whole; ids stay text.

    Raises:
        DataError: there is no such file, or it is neither CSV nor Parquet.
    """
    with _readable(path):
        return _scan(path).collect()


def read_tables(paths: list[Path]) -> pl.DataFrame:
    """Read files whole, one below the other; a column that some lack is null there.

    Raises:
        DataError: a file is missing, is neither CSV nor Parquet, or has a column of a type that
            cannot be brought together with that of the others.
    """
    tables = [read_table(path) for path in paths]
    with _readable(paths[0]):
        return pl.concat(tables, how="diagonal_relaxed")


def columns_of(path: Path) -> list[str]:
    """Return the names of a file's columns.

    Raises:
        DataError: there is no such file, or it is neither CSV nor Parquet.
    """
    with _readable(path):
        return _scan(path).collect_schema().names()


def read_batches(path: Path, columns: tuple[str, ...]) -> Iterator[pl.DataFrame]:
    """Read some columns of a file, a bounded number of rows at a time, in order.

    Raises:
        DataError: there is no such file, it is neither CSV nor Parquet, or it lacks a column.
    """
    _require(columns, columns_of(path), path)
    with _readable(path):
        rows = _scan(path).select(columns)
        batches = iter(rows.collect_batches(chunk_size=_ROWS_AT_ONCE, maintain_order=True))
    while True:
        with _readable(path):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def require_columns(frame: pl.DataFrame, columns: tuple[str, ...], path: Path) -> None:
    """Raise DataError unless the table has every one of `columns`."""
    _require(columns, frame.columns, path)


def _scan(path: Path) -> pl.LazyFrame:
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    if ".parquet" in path.suffixes:
        return pl.scan_parquet(path)
    return pl.scan_csv(path, schema_overrides=_CSV_TYPES, infer_schema_length=_ROWS_SEEN)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path} cannot be read as CSV or Parquet: {error}") from error


def _require(columns: tuple[str, ...], present: list[str], path: Path) -> None:
    missing = [name for name in columns if name not in present]
    if missing:
        raise DataError(
            f"{path} lacks the column {', '.join(missing)}; it has {', '.join(present)}"
        )
