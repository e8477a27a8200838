"""REES46's store events: one CSV a month, each event carrying its product's description.

The format of "eCommerce behavior data from multi category store" and its siblings (REES46
Marketing Platform, on Kaggle). The products have no titles: brand and category are their text.
"""

from __future__ import annotations

import polars as pl

from producer.datasets.format import DatasetFormat
from producer.datasets.tables import ROW


def _events(frame: pl.LazyFrame) -> pl.LazyFrame:
    return frame.select(
        pl.col(ROW),
        user_id="user_id",
        item_id="product_id",
        event_type="event_type",
        timestamp="event_time",
        session_id="user_session",
        price="price",
    )


def _items_from_events(frame: pl.LazyFrame) -> pl.LazyFrame:
    latest = [pl.col(column).drop_nulls().last() for column in ("brand", "category_code", "price")]
    products = frame.group_by(pl.col("product_id").alias("item_id"), maintain_order=True)
    return products.agg(latest)


REES46 = DatasetFormat(
    name="rees46",
    summary="REES46 store events: event_time, event_type, product_id, category_code, brand, …",
    event_columns=frozenset(
        {"event_time", "event_type", "product_id", "category_code", "brand", "price", "user_id"}
        | {"user_session"}
    ),
    events=_events,
    items_from_events=_items_from_events,
)
