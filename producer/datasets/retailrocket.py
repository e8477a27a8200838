"""RetailRocket's store events and its log of item properties.

Properties other than `categoryid` and `available` are hashed by the publisher, so an item has no
title here: the ids on its category path are all the text there is.
"""

from __future__ import annotations

import polars as pl

from producer.datasets.format import DatasetFormat
from producer.datasets.tables import ROW


def _events(frame: pl.LazyFrame) -> pl.LazyFrame:
    return frame.select(
        pl.col(ROW),
        user_id="visitorid",
        item_id="itemid",
        event_type="event",
        timestamp="timestamp",
    )


def _items(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Return the latest category and availability of each item; the log is not in time order."""
    return (
        frame.filter(pl.col("property").is_in(["categoryid", "available"]))
        .select(
            "itemid", "property", "value", time=pl.col("timestamp").cast(pl.Int64, strict=False)
        )
        .sort("time", maintain_order=True)
        .group_by(pl.col("itemid").alias("item_id"), maintain_order=True)
        .agg(
            category_code=_latest("categoryid"),
            available=_latest("available"),
        )
        .sort("item_id")
    )


def _latest(name: str) -> pl.Expr:
    return pl.col("value").filter(pl.col("property") == name).last()


RETAILROCKET = DatasetFormat(
    name="retailrocket",
    summary="RetailRocket: events.csv (visitorid, event, itemid), item_properties_part*.csv",
    event_columns=frozenset({"timestamp", "visitorid", "event", "itemid"}),
    events=_events,
    item_columns=frozenset({"timestamp", "itemid", "property", "value"}),
    items=_items,
)
