"""`innerloop bench pipeline`: real workers, load from a process of its own, answers counted."""

import numpy as np
import pytest
from bench_command import bench

from worker.bench.answers import Waiting

LATENCIES = ("p50_ms", "p90_ms", "p99_ms", "p99_9_ms", "max_ms")


def check(report, broker: str) -> None:
    repeats = report.settings["repeats"]
    saturation = report.one("saturation", broker=broker)
    most = saturation.figures["events_per_s"]
    assert len(most.values) == repeats and most.min > 0
    latency = report.one("latency", broker=broker)
    assert latency.case["offered_per_s"] == pytest.approx(latency.case["load"] * most.median, abs=1)
    for repetition in range(repeats):
        found = [latency.figures[name].values[repetition] for name in LATENCIES]
        assert found[0] > 0 and found == sorted(found)
    counted = latency.figures["events_per_repetition"].median
    assert counted == pytest.approx(latency.case["offered_per_s"] * 1.0, rel=0.1, abs=2)


def test_on_the_embedded_broker(tmp_path):
    check(bench(tmp_path, "pipeline", "--broker", "embedded", "--load", "0.2"), "embedded")


@pytest.mark.kafka
def test_on_apache_kafka(tmp_path, kafka_broker, monkeypatch):
    monkeypatch.setenv("KAFKA_BOOTSTRAP", kafka_broker.bootstrap_servers)
    report = bench(tmp_path, "pipeline", "--broker", "kafka", "--load", "0.2", "--workers", "2")
    assert report.one("saturation").case["workers"] == 2
    check(report, "kafka")


def test_an_event_is_answered_by_the_first_answer_that_knows_it():
    waiting = Waiting(["a", "b", "c", "d"], ["u", "v", "u", "u"])
    waiting.answer("v", "b", 1.0)
    waiting.answer("u", "c", 2.0)  # the worker took a and c together
    waiting.answer("u", "a", 3.0)  # a late repetition
    waiting.answer("u", "of another run", 3.0)
    assert waiting.missing == 1
    np.testing.assert_array_equal(waiting.answered_at, [2.0, 1.0, 2.0, np.nan])
    waiting.answer("u", "d", 4.0)
    assert waiting.missing == 0
