"""innerloop's own files: event columns named as the fields of `ClickstreamEvent`."""

from __future__ import annotations

import polars as pl

from producer.datasets.format import DatasetFormat, pick
from producer.datasets.tables import ROW

REQUIRED_EVENT_COLUMNS = frozenset({"user_id", "item_id", "event_type", "timestamp"})
OPTIONAL_EVENT_COLUMNS = (
    "event_id",
    "session_id",
    "query",
    "text",
    "rating",
    "price",
    "currency",
    "quantity",
    "surface",
    "recommendation_id",
    "consent",
)
ITEM_COLUMNS = (
    "item_id",
    "title",
    "brand",
    "categories",
    "category_code",
    "price",
    "median_price",
    "available",
)


def _events(frame: pl.LazyFrame) -> pl.LazyFrame:
    names = {name: name for name in (*sorted(REQUIRED_EVENT_COLUMNS), *OPTIONAL_EVENT_COLUMNS)}
    # Baskets are often written with a unit price.
    columns = pick(frame, {"price": "unit_price"}) | pick(frame, names)
    return frame.select(pl.col(ROW), **columns)


def _items(frame: pl.LazyFrame) -> pl.LazyFrame:
    return frame.select(**pick(frame, {name: name for name in ITEM_COLUMNS}))


CANONICAL = DatasetFormat(
    name="canonical",
    summary="innerloop's own columns: user_id, item_id, event_type, timestamp; item_id, title",
    event_columns=REQUIRED_EVENT_COLUMNS,
    events=_events,
    item_columns=frozenset({"item_id"}),
    items=_items,
)
