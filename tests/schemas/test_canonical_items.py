from __future__ import annotations

from pathlib import Path

import msgspec
import polars as pl
import pytest

from schemas.canonical_items import catalog_item_from_row
from schemas.catalog import CatalogItem, item_text

SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"


def test_takes_every_column_that_counts() -> None:
    row = {
        "item_id": "p2",
        "title": " galaxy s9 ",
        "brand": "samsung",
        "category_code": "electronics.mobile_phone.smartphone",
        "price": 130.7,
        "median_price": 99.0,
        "available": "0",
        "category_id": 2053013555631882655,
    }
    assert catalog_item_from_row(row) == CatalogItem(
        item_id="p2",
        title="galaxy s9",
        brand="samsung",
        categories=("electronics", "mobile phone", "smartphone"),
        price=130.7,
        available=False,
    )


@pytest.mark.parametrize(
    "categories", [["Home", "Kitchen"], ("Home", "", "Kitchen"), "Home > Kitchen"]
)
def test_categories_win_over_the_code(categories: object) -> None:
    row = {"item_id": "a", "categories": categories, "category_code": "x.y"}
    assert catalog_item_from_row(row).categories == ("Home", "Kitchen")


@pytest.mark.parametrize("nothing", [None, "", "  ", float("nan")])
def test_nothing_given_is_nothing(nothing: object) -> None:
    names = ("title", "brand", "category_code", "categories", "price", "median_price", "available")
    assert catalog_item_from_row(dict.fromkeys(names, nothing) | {"item_id": "a"}) == CatalogItem(
        item_id="a"
    )


@pytest.mark.parametrize("price", [-1, "-0.5", "abc", float("inf")])
def test_an_unusable_price_falls_back_to_the_median(price: object) -> None:
    row = {"item_id": "a", "price": price, "median_price": "2.50"}
    assert catalog_item_from_row(row).price == 2.5


def test_numbers_become_text() -> None:
    item = catalog_item_from_row({"item_id": 7, "title": 1984, "brand": 3})
    assert (item.item_id, item.title, item.brand) == ("7", "1984", "3")


def test_long_text_is_cut_to_what_the_schema_allows() -> None:
    item = catalog_item_from_row({"item_id": "a", "title": "x" * 5000, "brand": "y" * 300})
    encoded = msgspec.json.encode(item)
    assert msgspec.json.decode(encoded, type=CatalogItem) == item
    assert (len(item.title), len(item.brand or "")) == (4096, 256)


def test_a_title_made_of_brand_and_category_keeps_its_text() -> None:
    row = {
        "item_id": "p195",
        "title": "ikea furniture living room cabinet",
        "brand": "ikea",
        "category_code": "furniture.living_room.cabinet",
    }
    assert item_text(catalog_item_from_row(row)) == row["title"]


def test_text_of_the_rees46_items_is_their_title() -> None:
    path = SHARED_DATA / "rees46_oct2019" / "items.csv.gz"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    rows = pl.read_csv(path, infer_schema=False).iter_rows(named=True)
    differ = [row for row in rows if item_text(catalog_item_from_row(row)) != (row["title"] or "")]
    assert differ == []
