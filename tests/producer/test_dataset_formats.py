"""Each format, from a few rows in its real shape."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from producer.datasets import EventFile, ReadOptions, items_from_events, open_items
from schemas.catalog import CatalogItem, item_text
from schemas.clickstream import ClickstreamEvent, EventType

REES46 = """\
event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session
2019-10-01 00:00:00 UTC,view,44600062,2103,,shiseido,35.79,541312140,72d76fde
2019-10-01 00:00:01 UTC,cart,3900821,2053,appliances.water_heater,aqua,33.20,554748717,9333dfbd
2019-10-01 00:00:02 UTC,purchase,3900821,2053,appliances.water_heater,aqua,30.00,554748717,9333dfbd
2019-10-01 00:00:03 UTC,remove_from_cart,44600062,2103,,,0.00,541312140,
"""

RETAILROCKET = """\
timestamp,visitorid,event,itemid,transactionid
1433221332117,257597,view,355908,
1433224214164,992329,addtocart,248676,
1433222276276,111016,transaction,318965,4000
"""

RETAILROCKET_ITEMS = """\
timestamp,itemid,property,value
1435460400000,460429,categoryid,1338
1441508400000,206783,888,1116713 960601 n277.200
1439089200000,395014,400,n552.000 639502 n720.000 424566
1431226800000,460429,categoryid,999
1431831600000,460429,available,1
1442113200000,460429,available,0
1431831600000,206783,available,1
"""

ONLINE_RETAIL = """\
InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country
536365,85123A,WHITE HANGING HEART T-LIGHT HOLDER,6,12/1/2010 8:26,2.55,17850,United Kingdom
536366,85123A,WHITE HANGING HEART T-LIGHT HOLDER,2,12/1/2010 8:28,2.95,13047.0,United Kingdom
536367,85123A,wet/damaged,1,12/1/2010 8:34,0,,United Kingdom
C536379,22423,REGENCY CAKESTAND 3 TIER,-1,12/13/2010 9:41,12.75,17850,United Kingdom
"""

AMAZON_2018: list[dict[str, Any]] = [
    {
        "overall": 5.0,
        "vote": "2",
        "verified": True,
        "reviewTime": "01 1, 2018",
        "reviewerID": "A2SUAM1J3GNN3B",
        "asin": "0000013714",
        "style": {"Format:": " Hardcover"},
        "reviewerName": "J. McDonald",
        "reviewText": "Fits me well.",
        "summary": "Great hymnal",
        "unixReviewTime": 1514764800,
    },
    {
        "overall": 2,
        "verified": False,
        "reviewerID": "A1",
        "asin": "B2",
        "summary": None,
        "image": ["a.jpg"],
        "unixReviewTime": 1514764800,
    },
]

AMAZON_2018_ITEMS: list[dict[str, Any]] = [
    {
        "category": ["Clothing", "Women", "Shoes &amp; Boots"],
        "description": ["x"],
        "title": "Lady&#39;s Boot",
        "brand": "Acme &amp; Co",
        "price": "$1,012.99",
        "asin": "B1",
    },
    {
        "category": [],
        "title": "var aPageStart = (new Date()).getTime();",
        "asin": "B2",
        "brand": "",
    },
    {
        "category": None,
        "title": "Cheap",
        "asin": "B3",
        "brand": None,
        "price": ".a-box {margin: 0}",
    },
]

AMAZON_2023: list[dict[str, Any]] = [
    {
        "rating": 4.0,
        "title": "Such a lovely scent",
        "text": "This spray is really nice.",
        "images": [],
        "asin": "B00YQ6X8EO",
        "parent_asin": "B00PARENT0",
        "user_id": "AGKHLEW2SOWHNMFQIJGBECAF7INQ",
        "timestamp": 1588687728923,
        "helpful_vote": 0,
        "verified_purchase": True,
    }
]

AMAZON_2023_ITEMS: list[dict[str, Any]] = [
    {
        "main_category": "All Beauty",
        "title": "Howard Leight Tips",
        "average_rating": 4.8,
        "price": 19.5,
        "store": "Howard Leight",
        "categories": ["Beauty", "Tools"],
        "details": {"Color": "Red"},
        "parent_asin": "B01",
    },
    {"title": "No price", "price": "—", "store": None, "categories": [], "parent_asin": "B02"},
    {"title": "A range", "price": "from 14.99", "categories": [], "parent_asin": "B03"},
]


def write(path: Path, content: str) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(content.encode()))
    else:
        path.write_text(content, encoding="utf-8")
    return path


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def read(path: Path, options: ReadOptions | None = None) -> tuple[str, list[ClickstreamEvent]]:
    file = EventFile(path, options)
    return file.format.name, list(file.events())


def catalogue(*paths: Path, options: ReadOptions | None = None) -> dict[str, CatalogItem]:
    return {item.item_id: item for item in open_items(paths, options).items()}


@pytest.mark.parametrize("name", ["2019-Oct.csv", "2019-Oct.csv.gz"])
def test_rees46(tmp_path: Path, name: str) -> None:
    file = EventFile(write(tmp_path / name, REES46))
    events = list(file.events())

    assert file.format.name == "rees46"
    assert [event.type for event in events] == [
        EventType.VIEW,
        EventType.ADD_TO_CART,
        EventType.PURCHASE,
        EventType.REMOVE_FROM_CART,
    ]
    assert events[0].time == 1_569_888_000_000
    assert (events[0].user_id, events[0].item_id) == ("541312140", "44600062")
    assert (events[1].session_id, events[1].price) == ("9333dfbd", 33.2)
    assert events[3].session_id is None

    derived = items_from_events(file)
    assert derived is not None
    items = {item.item_id: item for item in derived.items()}
    assert items == {
        "44600062": CatalogItem(item_id="44600062", brand="shiseido", price=0.0),
        "3900821": CatalogItem(
            item_id="3900821",
            brand="aqua",
            categories=("appliances", "water heater"),
            price=30.0,
        ),
    }
    assert item_text(items["3900821"]) == "aqua appliances water heater"


def test_retailrocket(tmp_path: Path) -> None:
    name, events = read(write(tmp_path / "events.csv", RETAILROCKET))
    assert name == "retailrocket"
    assert [(event.user_id, event.type, event.time) for event in events] == [
        ("257597", EventType.VIEW, 1433221332117),
        ("111016", EventType.PURCHASE, 1433222276276),
        ("992329", EventType.ADD_TO_CART, 1433224214164),
    ]


def test_retailrocket_items_take_the_latest_property_of_all_parts(tmp_path: Path) -> None:
    header, *rows = RETAILROCKET_ITEMS.splitlines(keepends=True)
    first = write(tmp_path / "item_properties_part1.csv", header + "".join(rows[:3]))
    second = write(tmp_path / "item_properties_part2.csv", header + "".join(rows[3:]))
    assert catalogue(first, second) == {
        "206783": CatalogItem(item_id="206783"),
        "460429": CatalogItem(item_id="460429", categories=("1338",), available=False),
    }


def test_online_retail(tmp_path: Path) -> None:
    file = EventFile(write(tmp_path / "data.csv", ONLINE_RETAIL))
    events = list(file.events())
    assert file.format.name == "online-retail"
    assert file.survey.skipped == {"no user_id": 1}
    assert [(e.user_id, e.type, e.quantity, e.session_id) for e in events] == [
        ("17850", EventType.PURCHASE, 6, "536365"),
        ("13047", EventType.PURCHASE, 2, "536366"),
        ("17850", EventType.REMOVE_FROM_CART, 1, "C536379"),
    ]
    assert events[0].time == 1_291_191_960_000
    assert (events[0].price, events[0].currency) == (2.55, "GBP")

    derived = items_from_events(file)
    assert derived is not None
    assert list(derived.items()) == [
        CatalogItem(item_id="22423", title="REGENCY CAKESTAND 3 TIER", price=12.75),
        CatalogItem(item_id="85123A", title="WHITE HANGING HEART T-LIGHT HOLDER", price=2.75),
    ]


def test_online_retail_ii_with_iso_dates(tmp_path: Path) -> None:
    content = (
        "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country\n"
        "489434,79323P,PINK CHERRY LIGHTS,12,2009-12-01 07:45:00,6.75,13085.0,United Kingdom\n"
    )
    name, events = read(write(tmp_path / "online_retail_II.csv", content))
    assert name == "online-retail-ii"
    assert [(event.user_id, event.time) for event in events] == [("13085", 1_259_653_500_000)]


@pytest.mark.parametrize("name", ["Electronics_5.json", "Electronics_5.json.gz"])
def test_amazon_2018(tmp_path: Path, name: str) -> None:
    found, events = read(write(tmp_path / name, lines(AMAZON_2018)))
    assert found == "amazon2018"
    assert [(e.user_id, e.item_id, e.rating, e.text, e.time) for e in events] == [
        ("A2SUAM1J3GNN3B", "0000013714", 5.0, "Great hymnal\nFits me well.", 1514764800000),
        ("A1", "B2", 2.0, None, 1514764800000),
    ]
    assert {event.type for event in events} == {EventType.REVIEW}


def test_amazon_2018_items(tmp_path: Path) -> None:
    path = write(tmp_path / "meta_Electronics.json.gz", lines(AMAZON_2018_ITEMS))
    assert catalogue(path) == {
        "B1": CatalogItem(
            item_id="B1",
            title="Lady's Boot",
            brand="Acme & Co",
            categories=("Clothing", "Women", "Shoes & Boots"),
            price=1012.99,
        ),
        "B2": CatalogItem(item_id="B2"),
        "B3": CatalogItem(item_id="B3", title="Cheap"),
    }


def test_amazon_2023(tmp_path: Path) -> None:
    found, events = read(write(tmp_path / "All_Beauty.jsonl", lines(AMAZON_2023)))
    assert found == "amazon2023"
    (event,) = events
    assert (event.item_id, event.time, event.rating) == ("B00PARENT0", 1588687728923, 4.0)
    assert event.text == "Such a lovely scent\nThis spray is really nice."


def test_amazon_2023_ratings_alone(tmp_path: Path) -> None:
    content = "user_id,parent_asin,rating,timestamp\nAG,B01,3.0,1588687728923\n"
    found, events = read(write(tmp_path / "All_Beauty.csv.gz", content))
    assert found == "amazon2023"
    assert [(event.rating, event.text) for event in events] == [(3.0, None)]


def test_amazon_2023_items(tmp_path: Path) -> None:
    items = catalogue(write(tmp_path / "meta_All_Beauty.jsonl.gz", lines(AMAZON_2023_ITEMS)))
    assert items["B01"] == CatalogItem(
        item_id="B01",
        title="Howard Leight Tips",
        brand="Howard Leight",
        categories=("Beauty", "Tools"),
        price=19.5,
    )
    assert [items[name].price for name in ("B02", "B03")] == [None, 14.99]


def test_movielens_csv(tmp_path: Path) -> None:
    ratings = "userId,movieId,rating,timestamp\n1,296,5.0,1147880044\n1,1,0.5,1147868817\n"
    movies = (
        "movieId,title,genres\n"
        '1,"American President, The (1995)",Comedy|Drama\n'
        "296,Pulp Fiction (1994),(no genres listed)\n"
    )
    found, events = read(write(tmp_path / "ratings.csv", ratings))
    assert found == "movielens"
    assert [(event.item_id, event.rating) for event in events] == [("1", 0.5), ("296", 5.0)]
    assert catalogue(write(tmp_path / "movies.csv", movies)) == {
        "1": CatalogItem(
            item_id="1", title="American President, The (1995)", categories=("Comedy", "Drama")
        ),
        "296": CatalogItem(item_id="296", title="Pulp Fiction (1994)"),
    }


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_movielens_dat(tmp_path: Path, encoding: str) -> None:
    ratings = write(tmp_path / "ratings.dat", "1::1193::5::978300760\n1::661::3::978302109\n")
    movies = tmp_path / "movies.dat"
    movies.write_bytes(
        '661::Star Wars: Episode IV (1977)::Action\n1193::Café "Olé"::Comedy|Drama\n'.encode(
            encoding
        )
    )
    found, events = read(ratings)
    assert found == "movielens-dat"
    assert [(event.user_id, event.item_id, event.rating) for event in events] == [
        ("1", "1193", 5.0),
        ("1", "661", 3.0),
    ]
    items = catalogue(movies)
    assert items["661"].title == "Star Wars: Episode IV (1977)"
    assert items["1193"].title == 'Café "Olé"'


def test_canonical_parquet_keeps_typed_columns(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    pl.DataFrame(
        {
            "user_id": [7, 8],
            "item_id": ["007", "b"],
            "event_type": ["pv", "search"],
            "timestamp": [1_569_888_001, 1_569_888_000],
            "query": [None, "red shoes"],
            "quantity": [2, None],
            "consent": [False, True],
        }
    ).write_parquet(path)
    found, events = read(path)
    assert found == "canonical"
    assert events[0].type is EventType.SEARCH
    assert (events[0].query, events[0].consent) == ("red shoes", True)
    assert (events[1].user_id, events[1].item_id, events[1].consent) == ("7", "007", False)
    assert events[1].quantity == 2


def test_canonical_items_parquet_with_a_list_of_categories(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    pl.DataFrame(
        {"item_id": [1], "title": ["Mug"], "categories": [["Home", "Kitchen"]]}
    ).write_parquet(path)
    assert catalogue(path) == {
        "1": CatalogItem(item_id="1", title="Mug", categories=("Home", "Kitchen"))
    }


def test_an_older_encoding_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(ONLINE_RETAIL.replace("REGENCY", "£10 REGENCY").encode("latin-1"))
    file = EventFile(path, ReadOptions(encoding="latin-1"))
    assert len(list(file.events())) == file.survey.usable == 3
    derived = items_from_events(file)
    assert derived is not None
    assert next(derived.items()).title == "£10 REGENCY CAKESTAND 3 TIER"
