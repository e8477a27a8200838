"""Every dataset format that innerloop reads, and telling them apart by their columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from producer.datasets.amazon import AMAZON_2018, AMAZON_2023
from producer.datasets.canonical import CANONICAL
from producer.datasets.format import DatasetFormat
from producer.datasets.movielens import MOVIELENS, MOVIELENS_DAT
from producer.datasets.online_retail import ONLINE_RETAIL, ONLINE_RETAIL_II
from producer.datasets.rees46 import REES46
from producer.datasets.retailrocket import RETAILROCKET
from schemas.errors import DataError

FORMATS: dict[str, DatasetFormat] = {
    each.name: each
    for each in (
        CANONICAL,
        REES46,
        RETAILROCKET,
        AMAZON_2018,
        AMAZON_2023,
        ONLINE_RETAIL,
        ONLINE_RETAIL_II,
        MOVIELENS,
        MOVIELENS_DAT,
    )
}
"""Format name → format. To add one, write a module with a `DatasetFormat` and list it here."""


def format_named(name: str) -> DatasetFormat:
    """Return the format of that name.

    Raises:
        DataError: there is none.
    """
    if name not in FORMATS:
        raise DataError(f"dataset format {name!r} is unknown; use one of: {', '.join(FORMATS)}")
    return FORMATS[name]


def detect_events_format(path: Path, columns: Sequence[str]) -> DatasetFormat:
    """Return the format whose events files have these columns.

    Raises:
        DataError: none has; the message names the nearest format and what it lacks.
    """
    return _detect(path, columns, "events", lambda each: each.event_columns)


def detect_items_format(path: Path, columns: Sequence[str]) -> DatasetFormat:
    """Return the format whose items files have these columns.

    Raises:
        DataError: none has; the message names the nearest format and what it lacks.
    """
    return _detect(path, columns, "items", lambda each: each.item_columns)


def _detect(
    path: Path,
    columns: Sequence[str],
    kind: str,
    needed_by: Callable[[DatasetFormat], frozenset[str]],
) -> DatasetFormat:
    present = set(columns)
    candidates = [each for each in FORMATS.values() if needed_by(each)]
    fitting = [each for each in candidates if needed_by(each) <= present]
    if fitting:
        # Where several fit, the one that accounts for most of the columns.
        return max(fitting, key=lambda each: len(needed_by(each)))
    nearest = max(
        candidates, key=lambda each: len(needed_by(each) & present) / len(needed_by(each))
    )
    missing = ", ".join(sorted(needed_by(nearest) - present))
    raise DataError(
        f"{path} is no {kind} file of a known format: it has the columns {', '.join(columns)}; "
        f"nearest is {nearest.name}, for which it lacks {missing}. Name the format with --format "
        f"({', '.join(FORMATS)}) or map the columns, such as "
        + (
            "--columns user_id=visitor,item_id=sku"
            if kind == "events"
            else "--item-columns item_id=sku,title=name"
        )
    )
