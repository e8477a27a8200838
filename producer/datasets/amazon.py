"""Amazon reviews as the McAuley lab publishes them: 2018 and 2023, reviews and item metadata.

A review is a `review` event with rating and text. The 2018 files have whole days only: reviews of
one day keep the file's order. The 2023 metadata goes by `parent_asin`, so that is the item id.
"""

from __future__ import annotations

import html

import msgspec
import polars as pl

from producer.datasets.cells import text
from producer.datasets.format import DatasetFormat
from producer.datasets.tables import ROW
from schemas.clickstream import EventType

# The 2018 crawl took a script for the title of some pages; its publisher says so, too.
_SCRIPT_IN_TITLE = "getTime"
_PRICE = r"^(?:from )?\$?(\d[\d,]*(?:\.\d+)?)"
_decode_list = msgspec.json.Decoder(list[str]).decode


def _events_2018(frame: pl.LazyFrame) -> pl.LazyFrame:
    return frame.select(
        ROW,
        user_id="reviewerID",
        item_id="asin",
        event_type=pl.lit(EventType.REVIEW.value),
        timestamp="unixReviewTime",
        rating="overall",
        text=_joined(frame, "summary", "reviewText"),
    )


def _events_2023(frame: pl.LazyFrame) -> pl.LazyFrame:
    return frame.select(
        ROW,
        user_id="user_id",
        item_id="parent_asin",
        event_type=pl.lit(EventType.REVIEW.value),
        timestamp="timestamp",
        rating="rating",
        text=_joined(frame, "title", "text"),
    )


def _items_2018(frame: pl.LazyFrame) -> pl.LazyFrame:
    title = _unescaped("title")
    return frame.select(
        item_id="asin",
        title=pl.when(~title.str.contains(_SCRIPT_IN_TITLE, literal=True)).then(title),
        brand=_unescaped("brand"),
        categories=_levels("category"),
        price=_price("price"),
    )


def _items_2023(frame: pl.LazyFrame) -> pl.LazyFrame:
    return frame.select(
        item_id="parent_asin",
        title=_unescaped("title"),
        brand=_unescaped("store"),
        categories=_levels("categories"),
        price=_price("price"),
    )


def _joined(frame: pl.LazyFrame, *columns: str) -> pl.Expr:
    """Return the review's headline and body; the files of ratings alone have neither."""
    present = [name for name in columns if name in frame.collect_schema().names()]
    if not present:
        return pl.lit(None, pl.String)
    return pl.concat_str([text(name) for name in present], separator="\n", ignore_nulls=True)


def _unescaped(column: str) -> pl.Expr:
    """Return the text with HTML entities decoded."""

    def decode(cells: pl.Series) -> pl.Series:
        decoded = [html.unescape(cell) if cell and "&" in cell else cell for cell in cells]
        return pl.Series(cells.name, decoded, pl.String)

    return pl.col(column).map_batches(decode, return_dtype=pl.String, is_elementwise=True)


def _levels(column: str) -> pl.Expr:
    """Return the category path, a JSON list of strings in the file; anything else is no path."""

    def decode(cells: pl.Series) -> pl.Series:
        return pl.Series(cells.name, [_path(cell) for cell in cells], pl.List(pl.String))

    return pl.col(column).map_batches(decode, return_dtype=pl.List(pl.String), is_elementwise=True)


def _path(cell: str | pl.Series | None) -> list[str] | None:
    if isinstance(cell, pl.Series):
        return [str(level) for level in cell]
    try:
        return [html.unescape(level) for level in _decode_list(cell or "[]")]
    except msgspec.DecodeError:
        return None


def _price(column: str) -> pl.Expr:
    return text(column).str.extract(_PRICE).str.replace_all(",", "").cast(pl.Float64, strict=False)


AMAZON_2018 = DatasetFormat(
    name="amazon2018",
    summary="Amazon reviews 2018, JSON lines: reviewerID, asin, overall; metadata asin, title",
    event_columns=frozenset({"reviewerID", "asin", "unixReviewTime", "overall"}),
    events=_events_2018,
    item_columns=frozenset({"asin", "title", "brand", "category", "price"}),
    items=_items_2018,
)

AMAZON_2023 = DatasetFormat(
    name="amazon2023",
    summary="Amazon reviews 2023, JSON lines: user_id, parent_asin, timestamp; metadata store",
    event_columns=frozenset({"user_id", "parent_asin", "timestamp", "rating"}),
    events=_events_2023,
    item_columns=frozenset({"parent_asin", "title", "store", "categories", "price"}),
    items=_items_2023,
)
