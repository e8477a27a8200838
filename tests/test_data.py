from pathlib import Path

import numpy as np
import pytest

from schemas.errors import DataError
from worker.data import load_events, load_items

ITEMS = "item_id,title,brand,category_code\n007,12,acme,toys.cars\nb,,,\n"
EVENTS = (
    "user_id,item_id,event_type,timestamp\n"
    "u2,b,cart,20\nu1,007,view,10\nu1,b,impression,11\nu1,b,buy,20.5\n"
)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    events, items = tmp_path / "events.csv", tmp_path / "items.csv"
    events.write_text(EVENTS)
    items.write_text(ITEMS)
    return events, items


def test_events_come_in_time_order_with_codes_and_milliseconds(files: tuple[Path, Path]) -> None:
    items = load_items(files[1])
    log = load_events(files[0], items)
    assert items.item_ids == ["007", "b"]
    assert items.texts == ["12 acme toys cars", ""]
    assert [log.user_ids[user] for user in log.users] == ["u1", "u2", "u1"]
    assert log.items.tolist() == [0, 1, 1]
    assert log.times.tolist() == [10_000, 20_000, 20_500]


def test_impressions_are_left_out_as_the_worker_does(files: tuple[Path, Path]) -> None:
    assert len(load_events(files[0], load_items(files[1]))) == 3


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ("user_id,item_id,timestamp\nu,b,1\n", "lacks the column event_type; it has user_id"),
        (EVENTS + "u3,zzz,view,30\n", "item_id 'zzz' is not in the items file"),
        (EVENTS + "u3,b,dance,30\n", "event type 'dance' is unknown; use one of"),
        (EVENTS + "u3,,view,30\n", "the column item_id has empty cells"),
    ],
)
def test_a_wrong_events_file_is_refused(
    files: tuple[Path, Path], events: str, message: str
) -> None:
    files[0].write_text(events)
    with pytest.raises(DataError, match=message):
        load_events(files[0], load_items(files[1]))


def test_an_item_that_stands_twice_is_refused(files: tuple[Path, Path]) -> None:
    files[1].write_text(ITEMS + "b,again,,\n")
    with pytest.raises(DataError, match="item_id 'b' stands more than once"):
        load_items(files[1])


def test_a_missing_file_and_a_file_of_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        load_items(tmp_path / "none.csv")
    (tmp_path / "x.parquet").write_bytes(np.random.default_rng(0).bytes(100))
    with pytest.raises(DataError, match="cannot be read as CSV or Parquet"):
        load_items(tmp_path / "x.parquet")
