"""Events and items in many files are those of one file with the same rows in the same order."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from schemas.errors import DataError
from worker.data import EventLog, ItemTable, load_events, load_items
from worker.event_arrays import by_first_appearance, read_column

N_ITEMS = 40
TABLE = ItemTable([str(n) for n in range(N_ITEMS)], [""] * N_ITEMS)
TYPES = ["view", "impression", "cart", "buy"]


def random_events(n: int = 2000, users: int = 60, seconds: int = 300) -> pl.DataFrame:
    """Events in no order, several at the same second, of users who are everywhere."""
    rng = np.random.default_rng(5)
    return pl.DataFrame(
        {
            "user_id": rng.integers(0, users, n),
            "item_id": rng.integers(0, N_ITEMS, n),
            "event_type": rng.choice(TYPES, n),
            "timestamp": rng.integers(0, seconds, n),
            "surface": rng.choice(["home", "search", None], n),
        }
    )


def write_shards(frame: pl.DataFrame, folder: Path, shards: int = 7) -> Path:
    folder.mkdir()
    for number, rows in enumerate(np.array_split(np.arange(len(frame)), shards)):
        frame[rows].write_parquet(folder / f"part-{number}.parquet")
    return folder


def assert_equal(one: EventLog, other: EventLog) -> None:
    for name in ("users", "items", "types", "times"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs, err_msg=name)
    assert one.user_ids == other.user_ids


@pytest.fixture
def single(tmp_path: Path) -> Path:
    random_events().write_parquet(tmp_path / "all.parquet")
    return tmp_path / "all.parquet"


def test_unsorted_overlapping_shards_are_the_single_file(tmp_path: Path, single: Path) -> None:
    folder = write_shards(random_events(), tmp_path / "shards")
    files: list[int] = []
    log = load_events(folder, TABLE, on_file=lambda: files.append(1))
    assert_equal(log, load_events(single, TABLE))
    assert_equal(log, load_events(folder / "part-?.parquet", TABLE))
    assert len(files) == 7


def test_the_log_is_the_stable_sort_of_the_rows(single: Path) -> None:
    log = load_events(single, TABLE)
    rows = random_events().filter(pl.col("event_type") != "impression")
    rows = rows.sort("timestamp", maintain_order=True)
    assert [log.user_ids[user] for user in log.users] == rows["user_id"].cast(pl.String).to_list()
    assert log.items.tolist() == rows["item_id"].to_list()
    assert log.times.tolist() == [1000 * second for second in rows["timestamp"]]
    assert log.user_ids == rows["user_id"].unique(maintain_order=True).cast(pl.String).to_list()


def test_shards_in_time_order_are_the_single_file_too(tmp_path: Path) -> None:
    frame = random_events().sort("timestamp", maintain_order=True)
    frame.write_parquet(tmp_path / "all.parquet")
    folder = write_shards(frame, tmp_path / "shards")
    assert_equal(load_events(folder, TABLE), load_events(tmp_path / "all.parquet", TABLE))


def test_files_larger_than_a_batch_of_rows(tmp_path: Path, monkeypatch, single: Path) -> None:
    whole = load_events(single, TABLE)
    monkeypatch.setattr("worker.tables._ROWS_AT_ONCE", 64)
    assert_equal(load_events(single, TABLE), whole)
    assert_equal(load_events(write_shards(random_events(), tmp_path / "shards"), TABLE), whole)


def test_csv_files_plain_and_gzipped_are_the_single_file(tmp_path: Path, single: Path) -> None:
    frame = random_events()
    frame[:700].write_csv(tmp_path / "a.csv")
    frame[700:].write_csv(tmp_path / "b.csv.gz", compression="gzip")
    assert (tmp_path / "b.csv.gz").read_bytes()[:2] == b"\x1f\x8b"
    assert_equal(load_events(tmp_path / "?.csv*", TABLE), load_events(single, TABLE))


def test_ids_and_times_of_different_types_are_one(tmp_path: Path, single: Path) -> None:
    frame = random_events()
    folder = tmp_path / "shards"
    folder.mkdir()
    casts = [
        {},
        {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Float64},
        {"user_id": pl.Categorical, "item_id": pl.Int16, "event_type": pl.Categorical},
        {"user_id": pl.UInt8, "item_id": pl.Enum(TABLE.item_ids), "timestamp": pl.Int32},
    ]
    for number, (cast, rows) in enumerate(
        zip(casts, np.array_split(np.arange(len(frame)), 4), strict=True)
    ):
        text = frame[rows].cast({"item_id": pl.String, "user_id": pl.String} if number else {})
        text.cast(cast).write_parquet(folder / f"{number}.parquet")
    assert_equal(load_events(folder, TABLE), load_events(single, TABLE))


def test_times_may_be_points_in_time(tmp_path: Path, single: Path) -> None:
    frame = random_events().with_columns(
        pl.from_epoch("timestamp", time_unit="s").dt.cast_time_unit("us")
    )
    assert frame["timestamp"].dtype == pl.Datetime("us")
    frame.write_parquet(tmp_path / "dated.parquet")
    assert_equal(load_events(tmp_path / "dated.parquet", TABLE), load_events(single, TABLE))


def test_fractions_of_a_second_are_rounded_to_milliseconds(tmp_path: Path) -> None:
    frame = random_events(3).with_columns(
        timestamp=pl.Series([1_569_916_800.001, 1_569_916_800.019, 1_569_916_801.2]),
        event_type=pl.lit("view"),
    )
    frame.write_parquet(tmp_path / "events.parquet")
    times = load_events(tmp_path / "events.parquet", TABLE).times
    assert times.tolist() == [1_569_916_800_001, 1_569_916_800_019, 1_569_916_801_200]


def test_a_shard_without_rows_changes_nothing(tmp_path: Path, single: Path) -> None:
    frame = random_events()
    folder = write_shards(frame, tmp_path / "shards")
    frame.clear().write_parquet(folder / "part-3b.parquet")
    assert_equal(load_events(folder, TABLE), load_events(single, TABLE))


def with_column(name: str, value: object) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda frame: frame.with_columns(pl.lit(value).alias(name))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop("event_type"), "lacks the column event_type; it has user_id"),
        (with_column("item_id", "zzz"), "item_id 'zzz' is not in the items file"),
        (with_column("event_type", "dance"), "event type 'dance' is unknown; use one of"),
        (with_column("user_id", None), "the column user_id has empty cells"),
        (with_column("user_id", 7.0), "the column user_id holds Float64; ids are text or integers"),
        (
            with_column("timestamp", "12"),
            "the column timestamp holds String; right would be seconds since the epoch",
        ),
        (
            with_column("timestamp", 1_569_916_800_000),
            "the column timestamp has 1569916800000, which is no time in seconds",
        ),
        (
            with_column("timestamp", float("nan")),
            "the column timestamp has nan, which is no time in seconds",
        ),
    ],
)
def test_what_is_wrong_with_a_shard_is_told_with_its_name(
    tmp_path: Path, change: Callable[[pl.DataFrame], pl.DataFrame], message: str
) -> None:
    folder = write_shards(random_events(), tmp_path / "shards")
    change(random_events(50)).write_parquet(folder / "part-3.parquet")
    with pytest.raises(DataError, match=rf"part-3\.parquet.*{message}"):
        load_events(folder, TABLE)


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    folder = write_shards(random_events(), tmp_path / "shards")
    content = (folder / "part-2.parquet").read_bytes()
    (folder / "part-2.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"part-2\.parquet cannot be read as CSV or Parquet"):
        load_events(folder, TABLE)


def test_a_further_column_is_read_in_the_order_of_the_log(tmp_path: Path) -> None:
    folder = write_shards(random_events(), tmp_path / "shards")
    rows = random_events().filter(pl.col("event_type") != "impression")
    rows = rows.sort("timestamp", maintain_order=True)
    found = read_column(sorted(folder.iterdir()), "surface")
    assert found.to_list() == rows["surface"].to_list()
    assert None in found.to_list()
    assert read_column(sorted(folder.iterdir()), "item_id").to_list() == (
        rows["item_id"].cast(pl.String).to_list()
    )


def test_items_in_several_files_are_one_catalogue(tmp_path: Path) -> None:
    folder = tmp_path / "items"
    folder.mkdir()
    pl.DataFrame({"item_id": [7, 8], "title": ["red lamp", None]}).write_parquet(
        folder / "a.parquet"
    )
    more = {"item_id": ["x"], "title": ["toy"], "category_code": ["kids.toys"]}
    pl.DataFrame(more).write_parquet(folder / "b.parquet")
    items = load_items(folder)
    assert items.item_ids == ["7", "8", "x"]
    assert items.texts == ["red lamp", "", "toy kids toys"]
    assert items.categories == ["", "", "kids > toys"]
    pl.DataFrame({"item_id": ["8"]}).write_parquet(folder / "c.parquet")
    with pytest.raises(DataError, match="items: item_id '8' stands more than once"):
        load_items(folder)
    pl.DataFrame({"item_id": ["y", None]}).write_parquet(folder / "c.parquet")
    with pytest.raises(DataError, match=r"c\.parquet: the column item_id has empty cells"):
        load_items(folder)


def test_codes_are_numbered_as_they_appear() -> None:
    codes = np.array([5, 2, 5, 0, 2, 9], np.int32)
    new, old = by_first_appearance(codes)
    assert new.dtype == np.int32
    assert new.tolist() == [0, 1, 0, 2, 1, 3]
    assert old.tolist() == [5, 2, 0, 9]
    new, old = by_first_appearance(codes[:0])
    assert len(new) == len(old) == 0
