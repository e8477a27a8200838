"""`--columns ours=theirs,…`: read files whose columns have other names."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import polars as pl

from producer.datasets.format import require_columns
from schemas.errors import DataError


def parse_columns(mapping: str | None, known: Collection[str]) -> dict[str, str]:
    """Split `ours=theirs,ours=theirs` into canonical name → the file's name.

    Args:
        mapping: as given on the command line; None or blank is no mapping.
        known: the canonical names.

    Raises:
        DataError: a part is no `ours=theirs`, a canonical name is unknown or stands twice.
    """
    columns: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in (mapping or "").split(","))):
        ours, equals, theirs = (piece.strip() for piece in part.partition("="))
        if not (ours and equals and theirs):
            raise DataError(
                f"column mapping {part!r} is not OURS=THEIRS; right would be: user_id=visitor"
            )
        if ours not in known:
            raise DataError(
                f"column mapping {part!r}: {ours!r} is no column of innerloop's; "
                f"use one of: {', '.join(known)}"
            )
        if ours in columns:
            raise DataError(f"column mapping names {ours} twice")
        columns[ours] = theirs
    return columns


def rename_columns(
    frame: pl.LazyFrame, mapping: Mapping[str, str], path: Path, present: Sequence[str]
) -> pl.LazyFrame:
    """Return the frame with each mapped column under its canonical name as well.

    Raises:
        DataError: the file lacks a column that the mapping names.
    """
    require_columns(path, present, mapping.values(), "the column mapping")
    return frame.with_columns(**{ours: pl.col(theirs) for ours, theirs in mapping.items()})
