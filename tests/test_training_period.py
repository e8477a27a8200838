"""`innerloop dataset training-period`: the protocol one step earlier."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from schemas.errors import DataError
from worker.cli.app import app
from worker.data import load_events, load_items
from worker.events_file import write_events
from worker.split import split_at

USERS = 40


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    rows = [
        (f"ü{user}", f"00{rng.integers(9)}", kind, 100 * user + 7.5 * step)
        for user in range(USERS)
        for step, kind in enumerate(("view", "impression", "add_to_cart", "purchase"))
    ]
    events, items = tmp_path / "events.csv", tmp_path / "items.csv"
    columns = ["user_id", "item_id", "event_type", "timestamp"]
    pl.DataFrame(rows, columns, orient="row").sample(fraction=1, shuffle=True, seed=1).write_csv(
        events
    )
    pl.DataFrame({"item_id": [f"00{n}" for n in range(9)]}).write_csv(items)
    return events, items


def test_it_holds_what_training_sees_and_no_new_user(files: tuple[Path, Path], tmp_path) -> None:
    events, items = files
    out = tmp_path / "earlier.parquet"
    arguments = ["dataset", "training-period", "--events", events, "--items", items, "--out", out]
    app([str(argument) for argument in arguments], standalone_mode=False)

    table = load_items(items)
    cut = split_at(load_events(events, table), 0.75)
    earlier = load_events(out, table)
    assert [earlier.user_ids[code] for code in earlier.users] == [
        cut.train.user_ids[code] for code in cut.train.users
    ]
    for name in ("items", "types", "times"):
        assert np.array_equal(getattr(earlier, name), getattr(cut.train, name)), name
    new = {cut.stream.user_ids[code] for code in cut.stream.users[cut.scored]}
    assert new
    assert not new & set(earlier.user_ids)


def test_a_file_that_cannot_be_written_is_named(files: tuple[Path, Path], tmp_path) -> None:
    events, items = files
    table = load_items(items)
    path = tmp_path / "nowhere" / "events.parquet"
    with pytest.raises(DataError, match="nowhere"):
        write_events(load_events(events, table), table, path)
