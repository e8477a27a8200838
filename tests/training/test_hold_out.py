"""`innerloop train --hold-out`: training sees nothing of a scenario, and the bundle says so."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from small_shop import run, write_shop

from schemas.errors import DataError, SettingsError
from worker.data import load_events, load_items
from worker.model.bundle import Bundle
from worker.split import split_at

CUT = 0.75


@pytest.fixture(scope="module")
def shop(tmp_path_factory, text_encoder_folder) -> tuple[Path, list[str]]:
    """The folder of the files, and the arguments of a training without a memory refit."""
    folder = tmp_path_factory.mktemp("shop")
    arguments = write_shop(folder, text_encoder_folder)
    items = pl.read_csv(folder / "items.csv")
    paths = [("lamps.desk", "lamps.floor", "books")[n % 3] for n in range(len(items))]
    items.with_columns(pl.Series("category_code", paths)).write_csv(folder / "items.csv")
    events = pl.read_csv(folder / "events.csv")
    surfaces = [("home", "search", "ads", "home")[n % 4] for n in range(len(events))]
    events.with_columns(pl.Series("surface", surfaces)).write_csv(folder / "events.csv")
    return folder, arguments


def train(shop: tuple[Path, list[str]], out: Path, hold_out: str) -> Bundle:
    run(*shop[1], "--epochs", "1", "--hold-out", hold_out, "--out", out)
    return Bundle(out)


def before_cut(folder: Path) -> pl.DataFrame:
    """The events that training sees with nothing held out, joined with the items, by hand."""
    events = pl.read_csv(folder / "events.csv")
    first = events.group_by("user_id").agg(pl.col("timestamp").min().alias("first"))
    cut = float(first["first"].quantile(CUT, interpolation="linear"))
    joined = events.join(first, on="user_id").join(pl.read_csv(folder / "items.csv"), on="item_id")
    return joined.filter((pl.col("first") <= cut) & (pl.col("timestamp") < cut))


@pytest.mark.parametrize(
    ("hold_out", "values", "held"),
    [
        ("category_code=lamps.*", ["lamps.*"], pl.col("category_code").str.starts_with("lamps.")),
        ("surface=ads,search", ["ads", "search"], pl.col("surface").is_in(["ads", "search"])),
    ],
)
def test_training_sees_nothing_of_it(shop, tmp_path, hold_out, values, held):
    bundle = train(shop, tmp_path / "bundle", hold_out)
    before = before_cut(shop[0])
    seen = before.filter(~held)
    assert 0 < len(seen) < len(before)
    provenance = bundle.manifest.provenance
    assert provenance.train_events == len(seen)
    assert provenance.train_users == seen["user_id"].n_unique()
    assert provenance.held_out is not None
    assert provenance.held_out.column == hold_out.split("=")[0]
    assert provenance.held_out.values == values
    assert provenance.held_out.events == len(before) - len(seen)
    known = bundle.items()
    counts = dict(zip(known.item_ids, known.counts, strict=True))
    assert counts == Counter(seen["item_id"].to_list())
    assert set(bundle.memory_items()) == set(seen["item_id"].to_list())


def test_the_cut_stays_where_it_is_without_holding_anything_out(shop, tmp_path):
    bundle = train(shop, tmp_path / "bundle", "category_code=books")
    items = load_items(shop[0] / "items.csv")
    cut = split_at(load_events(shop[0] / "events.csv", items), CUT)
    assert bundle.manifest.provenance.cut_time == cut.time


@pytest.mark.parametrize(
    ("flags", "error", "message"),
    [
        (("category_code=toys",), DataError, "no event has category_code=toys; it has"),
        (("category_code=*",), DataError, "all training events are held out"),
        (("brand=x",), DataError, "there is no column 'brand'"),
        (("category_code",), SettingsError, "names no values"),
    ],
)
def test_what_cannot_be_held_out_is_refused(shop, tmp_path, flags, error, message):
    with pytest.raises(error, match=message):
        run(*shop[1], "--hold-out", *flags, "--out", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_topics_have_no_columns_to_hold_out_by(tmp_path):
    with pytest.raises(SettingsError, match="--hold-out needs the columns of files"):
        run("train", "--from-kafka", "--hold-out", "brand=x", "--out", tmp_path / "bundle")
