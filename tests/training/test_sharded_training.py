"""`innerloop train` on many files makes the bundle that it makes of one with the same rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from small_shop import run, write_shop

from schemas.errors import DataError, TrainingError
from worker.evaluation.job import EvaluationJob, load_data
from worker.model.bundle import MEMORY, WEIGHTS, Bundle
from worker.shards import sha256_of_shards, shards_of
from worker.training.checkpoint import checkpoint_folder


@pytest.fixture(scope="module")
def shop(tmp_path_factory, text_encoder_folder) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("shop")
    arguments = write_shop(folder, text_encoder_folder)
    for name, shards in (("events", 5), ("items", 2)):
        frame = pl.read_csv(folder / f"{name}.csv")
        (folder / name).mkdir()
        for number, rows in enumerate(np.array_split(np.arange(len(frame)), shards)):
            frame[rows].write_parquet(folder / name / f"{number}.parquet")
    return folder, arguments


def sharded(folder: Path, arguments: list[str]) -> list[str]:
    paths = {str(folder / f"{name}.csv"): str(folder / name) for name in ("events", "items")}
    return [paths.get(argument, argument) for argument in arguments]


def test_the_bundle_of_many_files_is_that_of_one(shop, tmp_path):
    folder, arguments = shop
    run(*arguments, "--out", tmp_path / "one")
    run(*sharded(folder, arguments), "--out", tmp_path / "many")
    for name in (WEIGHTS, MEMORY):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()
    made = Bundle(tmp_path / "many").manifest.provenance
    assert made.events_file == "events"
    assert made.events_sha256 == sha256_of_shards(shards_of(folder / "events"))
    assert made.items_sha256 == sha256_of_shards(shards_of(folder / "items" / "*.parquet"))
    assert made.events_sha256 != Bundle(tmp_path / "one").manifest.provenance.events_sha256


def test_a_checkpoint_of_other_shards_is_refused(shop, tmp_path, monkeypatch):
    folder, arguments = shop
    out = tmp_path / "bundle"
    arguments = [*sharded(folder, arguments), "--out", str(out)]

    class Interrupted(Exception):  # noqa: N818
        """The training was interrupted by the test."""

    def interrupt(*_: object) -> None:
        raise Interrupted

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr("worker.training.trainer.MetaTrainer._fit_repeat_bias", interrupt)
        run(*arguments)
    assert checkpoint_folder(out).exists()
    more = pl.read_parquet(folder / "events" / "4.parquet")
    more.write_parquet(folder / "events" / "5.parquet")
    try:
        with pytest.raises(TrainingError, match="checkpoint of another training: events_sha256"):
            run(*arguments, "--resume")
    finally:
        (folder / "events" / "5.parquet").unlink()


def test_evaluation_reads_the_same(shop):
    folder, _ = shop
    one = load_data(EvaluationJob((), folder / "events.csv", folder / "items.csv"))
    many = load_data(EvaluationJob((), folder / "events" / "*.parquet", folder / "items"))
    assert one.items == many.items
    for name in ("users", "items", "types", "times"):
        for part in ("train", "stream"):
            mine, theirs = (getattr(getattr(data.cut, part), name) for data in (one, many))
            np.testing.assert_array_equal(mine, theirs)
    with pytest.raises(DataError, match="no file matches the pattern"):
        load_data(EvaluationJob((), folder / "day-*", folder / "items"))
