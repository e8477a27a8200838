"""`innerloop bench growth`: every point of every axis is measured."""

import pytest
from bench_command import bench

from schemas.errors import BenchError
from worker.bench.growth import GrowthPlan, run_growth


def test_over_users_and_catalogue(tmp_path):
    report = bench(tmp_path, "growth", "--over", "users", "--over", "catalogue")
    for users, resident in ((50, None), (200, None), (200, 100)):
        assert report.one("users", users=users, resident=resident).case["items"] == 400
    for items in (200, 400):
        assert report.one("catalogue", items=items).case["users"] == 60
    for result in report.results:
        figures = result.figures
        for each, rate in zip(
            figures["us_per_event"].values, figures["events_per_s"].values, strict=True
        ):
            assert each > 0 and each * rate == pytest.approx(1e6)


def test_over_storms_with_coalescing_and_without(tmp_path):
    report = bench(tmp_path, "growth", "--over", "storms")
    for storm in (1, 2, 8):
        for coalesce in (False, True):
            result = report.one("storms", events_of_a_user=storm, coalesce=coalesce)
            assert result.figures["us_per_event"].min > 0


def test_over_partitions_and_workers(tmp_path, kafka_broker, monkeypatch):
    monkeypatch.setenv("KAFKA_BOOTSTRAP", kafka_broker.bootstrap_servers)
    over = ["--over", "partitions", "--over", "workers"]
    report = bench(tmp_path, "growth", *over, "--partitions", "2", "--workers", "2")
    for result in (report.one("partitions", partitions=2), report.one("workers", workers=2)):
        assert result.figures["events_per_s"].min > 0
        assert result.figures["worker_cpu_us_per_event"].min > 0
    assert report.one("partitions").case["workers"] == 1
    assert report.one("workers").case["partitions"] == report.settings["partitions"] == 3


def test_an_unknown_axis_is_refused(tmp_path):
    with pytest.raises(BenchError, match="--over moons is unknown; there are: users"):
        run_growth(GrowthPlan(axes=("users", "moons")), tmp_path)


def test_the_embedded_broker_cannot_vary_its_partitions(tmp_path):
    with pytest.raises(BenchError, match="has 4 partitions"):
        run_growth(GrowthPlan(axes=("partitions",), broker="embedded"), tmp_path)
