"""The parts that benchmarks share."""

import os
import time

import msgspec
import numpy as np
import pytest
import torch

from schemas.clickstream import ClickstreamEvent
from schemas.errors import BenchError
from schemas.settings import Settings, load_settings
from worker.bench.hardware import describe
from worker.bench.made_up_bundle import write_made_up_bundle
from worker.bench.processor_time import cpu_seconds
from worker.bench.repetition import alternate
from worker.bench.report import Run, Spread, read_json, write_json
from worker.bench.settings_file import toml_text
from worker.bench.shop import Shop, encoded
from worker.bench.stopwatch import Stopwatch
from worker.bench.workload import Workload
from worker.model.serving import ServingModel


def test_variants_take_turns_and_the_warm_up_is_dropped():
    calls = []

    def variant(name):
        def work():
            calls.append(name)
            return len(calls)

        return work

    values = alternate({name: variant(name) for name in "abc"}, repeats=3, warm_up=1)
    assert "".join(calls) == "abcbcacababc"
    assert values == {"a": [6, 8, 10], "b": [4, 9, 11], "c": [5, 7, 12]}


def test_a_stopwatch_counts_the_seconds_of_one_call():
    watch, calls = Stopwatch(torch.device("cpu"), at_least_s=0.0), []
    work = lambda: calls.append(1)  # noqa: E731
    assert watch.seconds(work) > 0
    assert len(calls) == 3  # to warm up, to see how long it takes, to measure
    watch.seconds(work)
    assert len(calls) == 4


def test_processor_time_counts_work_and_not_waiting():
    before, counted = cpu_seconds(os.getpid()), time.process_time()
    while time.process_time() - counted < 0.2:
        sum(range(10_000))
    assert cpu_seconds(os.getpid()) - before == pytest.approx(0.2, abs=0.1)
    assert cpu_seconds(2**22 + 1) == 0.0  # beyond what the kernel gives out


def test_a_report_survives_its_file(tmp_path):
    run = Run("kernel", describe("cpu"), {"repeats": 3}, ["none"])
    run.add("m", {"users": 5}, {"users_per_s": [3.0, 1.0, 2.0]})
    run.skip("n", "not installed")
    report = run.report()
    write_json(report, tmp_path / "deep" / "r.json")
    assert read_json(tmp_path / "deep" / "r.json") == report
    spread = report.one("m", users=5).figures["users_per_s"]
    assert spread == Spread(2.0, 1.0, 3.0, [3.0, 1.0, 2.0])
    with pytest.raises(BenchError, match="0 results of m"):
        report.one("m", users=6)
    (tmp_path / "other.json").write_text("{}")
    for wrong in ("other.json", "missing.json"):
        with pytest.raises(BenchError, match=wrong):
            read_json(tmp_path / wrong)


def test_a_shop_draws_the_same_for_the_same_seed_and_popular_items_more_often():
    shop = Shop.of_size(1000, 50)
    first, again, other = shop.draw(5000, 1), shop.draw(5000, 1), shop.draw(5000, 2)
    np.testing.assert_array_equal(first.items, again.items)
    assert not np.array_equal(first.items, other.items)
    assert first.items.min() >= 0 and first.items.max() < 1000 and first.users.max() < 50
    counts = np.bincount(first.items, minlength=1000)
    assert counts[:100].sum() > counts[-100:].sum()
    records = encoded(shop.events(20, 3, "x-", list(range(20))))
    events = [msgspec.json.decode(value, type=ClickstreamEvent) for _, value in records]
    assert [e.event_id for e in events] == [f"x-{i}" for i in range(20)]
    assert [key.decode() for key, _ in records] == [e.user_id for e in events]
    assert [e.time for e in events] == list(range(20))


@pytest.mark.parametrize("memory", [True, False])
def test_a_made_up_bundle_is_one_that_a_worker_serves(tmp_path, memory):
    folder, shop = tmp_path / "b", Shop.of_size(200, 20)
    write_made_up_bundle(folder, shop, dim=16, rank=2, anchors=8, memory=memory)
    model = ServingModel.load(folder, "cpu", threads=1)
    assert (model.dim, model.rank, model.has_memory) == (16, 2, memory)
    items = shop.items()
    vectors = model.item_vectors([i.item_id for i in items], [i.title for i in items])
    assert vectors.shape == (200, 16) and torch.isfinite(vectors).all()
    alike = torch.nn.functional.cosine_similarity(vectors[0], vectors[5], dim=0)  # 5 kinds
    unlike = torch.nn.functional.cosine_similarity(vectors[0], vectors[1], dim=0)
    assert alike > unlike
    # A text that is not the item's own still has a vector: new items come by their text alone.
    assert model.query_vectors(["kind 7 number 12"]).abs().sum() > 0


def test_a_workload_takes_catalogue_and_popularity_from_a_bundle(tmp_path):
    write_made_up_bundle(tmp_path / "b", Shop.of_size(200, 20), dim=8, rank=2, anchors=8)
    workload = Workload(bundle=tmp_path / "b", users=30)
    bundle, shop = workload.prepare(tmp_path / "unused")
    assert bundle == tmp_path / "b" and shop.users == 30
    assert len(shop.item_ids) == len(set(shop.item_ids)) == 200
    assert workload.described()["bundle"] != "made up"


def test_settings_survive_their_file(tmp_path):
    settings = Settings.model_validate(
        {
            "kafka": {
                "topic_prefix": 'a"b'.replace('"', "-"),
                "consumer_properties": {"fetch.wait.max.ms": 10, "debug": "cgrp"},
            },
            "worker": {"bundle": tmp_path / "b", "batch_wait_ms": 3, "item_memory": False},
            "privacy": {"user_id_key": "0123456789abcdef"},
        }
    )
    (tmp_path / "s.toml").write_text(toml_text(settings))
    assert load_settings(tmp_path / "s.toml") == settings
