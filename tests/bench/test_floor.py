"""`innerloop bench floor`: every variant goes through the same records, and the worker is real."""

import pytest
from bench_command import bench

from worker.bench.report import Report
from worker.metrics import Stage


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Report:
    folder = tmp_path_factory.mktemp("floor")
    return bench(folder, "floor", "--broker", "embedded", "--events", "200")


def test_the_loops_and_the_worker_go_through_the_same_records(report):
    assert {result.method for result in report.results} == {"copy", "decode", "outputs", "worker"}
    worker, copy, outputs = (report.one(name) for name in ("worker", "copy", "outputs"))
    assert worker.case["in_bytes"] == copy.case["in_bytes"] == copy.case["out_bytes"]
    assert worker.case["out_bytes"] == outputs.case["out_bytes"] > copy.case["in_bytes"]
    for result in report.results:
        figures = result.figures
        assert len(figures["us_per_event"].values) == report.settings["repeats"] == 2
        assert figures["cpu_us_per_event"].max > 0
        for rate, each in zip(
            figures["events_per_s"].values, figures["us_per_event"].values, strict=True
        ):
            assert rate * each == pytest.approx(1e6)


def test_the_stages_of_the_worker_add_up(report):
    figures = report.one("worker").figures
    stages = {stage: figures[f"{stage.value}_us"].values for stage in Stage}
    for turn, outside in enumerate(figures["outside_adapt_and_rank_us"].values):
        spent = {stage: values[turn] for stage, values in stages.items()}
        assert min(spent.values()) >= 0
        assert spent[Stage.ADAPT] > 0 and spent[Stage.RANK] > 0
        core = spent[Stage.ADAPT] + spent[Stage.RANK]
        assert outside == pytest.approx(sum(spent.values()) - core)
