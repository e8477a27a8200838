"""`innerloop bench soak`: rounds on one worker, and how its memory grows."""

import pytest
from bench_command import bench

from schemas.errors import BenchError
from worker.bench.soak import SoakPlan, growth_per_hour, run_soak


def test_round_after_round(tmp_path):
    report = bench(tmp_path, "soak", "--broker", "embedded", "--rate", "100")
    rounds = [result for result in report.results if result.method == "round"]
    assert [result.case["minute"] for result in rounds] == [0.02, 0.03, 0.05]
    for result in rounds:
        figures = result.figures
        assert figures["events"].values == [100.0]
        assert 0 < figures["p50_ms"].median <= figures["p99_ms"].median
        assert figures["resident_mib"].median > 50
    assert report.one("growth").figures["mib_per_hour"]


def test_growth_is_that_of_the_second_half():
    held = [100.0, 300.0, 500.0, 600.0, 601.0, 602.0]
    assert growth_per_hour(held, 60.0) == pytest.approx(60.0)
    assert growth_per_hour([5.0, 5.0], 30.0) == pytest.approx(0.0)


def test_too_short_a_time_is_refused(tmp_path):
    with pytest.raises(BenchError, match="fewer than two rounds of 30 s"):
        run_soak(SoakPlan(minutes=0.5), tmp_path)
