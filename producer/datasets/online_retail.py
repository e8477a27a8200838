"""UCI Online Retail and Online Retail II: invoice lines of a UK gift web shop, in pounds.

An invoice number that starts with C is a cancellation: its lines become `remove_from_cart` events.
Lines without a customer cannot be told apart by person; they count as rows without a user.
Stock codes that are no products (postage, fees) are kept: which ones those are is not in the file.
"""

from __future__ import annotations

import polars as pl

from producer.datasets.cells import number, text
from producer.datasets.format import DatasetFormat, Transform
from producer.datasets.tables import ROW
from producer.datasets.times import time_ms
from schemas.clickstream import EventType

# As the spreadsheet writes it, month first. Other copies have ISO times.
_MONTH_FIRST = ("%m/%d/%Y %H:%M", "%m/%d/%y %H:%M")


def _events(invoice: str, customer: str, price: str) -> Transform:
    def transform(frame: pl.LazyFrame) -> pl.LazyFrame:
        cancelled = text(invoice).str.to_uppercase().str.starts_with("C")
        return frame.select(
            ROW,
            # A spreadsheet's number column: 17850.0 is customer 17850.
            user_id=text(customer).str.strip_suffix(".0"),
            item_id="StockCode",
            event_type=pl.when(cancelled)
            .then(pl.lit(EventType.REMOVE_FROM_CART.value))
            .otherwise(pl.lit(EventType.PURCHASE.value)),
            timestamp=_time("InvoiceDate"),
            session_id=invoice,
            price=price,
            currency=pl.lit("GBP"),
            # Cancelled quantities are negative.
            quantity=number("Quantity").abs(),
        )

    return transform


def _time(column: str) -> pl.Expr:
    spreadsheet = [
        text(column).str.to_datetime(pattern, time_unit="ms", strict=False)
        for pattern in _MONTH_FIRST
    ]
    return pl.coalesce(*spreadsheet, time_ms(column).cast(pl.Datetime("ms")))


def _items_from_events(price: str) -> Transform:
    def transform(frame: pl.LazyFrame) -> pl.LazyFrame:
        lines = frame.select(
            item_id=text("StockCode"), title=text("Description"), price=number(price)
        ).filter(pl.col("item_id").is_not_null())
        titles = (
            lines.filter(pl.col("title").is_not_null())
            .group_by("item_id", "title")
            .len()
            .sort("len", "title", descending=[True, False])
            .unique("item_id", keep="first", maintain_order=True)
            .select("item_id", "title")
        )
        prices = lines.group_by("item_id").agg(
            median_price=pl.col("price").filter(pl.col("price") > 0).median()
        )
        return prices.join(titles, on="item_id", how="left").sort("item_id")

    return transform


def _format(name: str, invoice: str, customer: str, price: str) -> DatasetFormat:
    shared = {"StockCode", "Description", "Quantity", "InvoiceDate"}
    return DatasetFormat(
        name=name,
        summary=f"UCI {name.replace('-', ' ').title()}: {invoice}, StockCode, InvoiceDate, …",
        event_columns=frozenset(shared | {invoice, customer, price}),
        events=_events(invoice, customer, price),
        items_from_events=_items_from_events(price),
    )


ONLINE_RETAIL = _format("online-retail", "InvoiceNo", "CustomerID", "UnitPrice")
ONLINE_RETAIL_II = _format("online-retail-ii", "Invoice", "Customer ID", "Price")
