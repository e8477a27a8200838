"""Clicks made up in any number: as many as asked for, by seed, and fit to be read."""

import itertools
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from producer.datasets.generated import Clicks, events_of_shard, write_generated
from schemas.errors import DataError
from worker.cli.app import app
from worker.data import load_events, load_items
from worker.split import split_at

CLICKS = Clicks(events=5000, users=700, items=90, shards=11, seed=3)


def test_there_is_as_much_as_asked_for_and_it_can_be_read(tmp_path: Path) -> None:
    command = ["dataset", "generate", "--out", str(tmp_path), "--seed", "3"]
    numbers = ["--events", "5000", "--users", "700", "--items", "90", "--shards", "11"]
    app([*command, *numbers], standalone_mode=False)
    assert [path.name for path in sorted((tmp_path / "events").iterdir())][::10] == [
        "part-00.parquet",
        "part-10.parquet",
    ]
    items = load_items(tmp_path / "items.parquet")
    log = load_events(tmp_path / "events", items)
    assert len(items) == 90
    assert len(log) == 5000
    assert len(log.user_ids) == len(np.unique(log.users)) == 700
    assert split_at(log, 0.75).scored.any()
    # Some start where others began: the catalogue's first items are the most popular.
    counts = np.bincount(log.items, minlength=90)
    assert counts[:30].sum() > 1.5 * counts[60:].sum()
    assert "aisle 0 > shelf 0" in (items.categories or [])


def test_files_are_sorted_and_overlap(tmp_path: Path) -> None:
    write_generated(CLICKS, tmp_path)
    frames = [pl.read_parquet(path) for path in sorted((tmp_path / "events").iterdir())]
    for frame in frames:
        assert frame["timestamp"].is_sorted()
    assert any(
        one["timestamp"].max() > other["timestamp"].min()
        for one, other in itertools.pairwise(frames)
    )


def test_a_visitor_mostly_goes_on_to_items_nearby() -> None:
    frame = events_of_shard(Clicks(20_000, 500, 100_000, 1), 0)
    item = frame["item_id"].str.strip_prefix("sku-").cast(pl.Int64)
    moves = frame.with_columns(item.alias("n")).select(
        pl.col("n").diff().over("user_id").abs().alias("move")
    )["move"]
    near = (moves.drop_nulls() <= 20).mean()
    assert 0.85 < near < 0.95


def test_the_seed_makes_the_rows() -> None:
    assert_frame_equal(events_of_shard(CLICKS, 4), events_of_shard(CLICKS, 4))
    other = Clicks(5000, 700, 90, 11, seed=4)
    assert not events_of_shard(CLICKS, 4).equals(events_of_shard(other, 4))
    assert not events_of_shard(CLICKS, 4)["timestamp"].equals(
        events_of_shard(CLICKS, 5)["timestamp"]
    )


@pytest.mark.parametrize("numbers", [(10, 20, 5, 1), (20, 10, 5, 11)])
def test_numbers_that_do_not_go_together_are_refused(numbers: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="no fewer events than users"):
        Clicks(*numbers)
