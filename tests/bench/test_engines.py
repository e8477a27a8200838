"""`innerloop bench engines`: the job is the worker's; an engine that is not there is skipped."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from bench_command import bench

from schemas.errors import BenchError
from schemas.recommendations import Recommendation
from worker.bench.engines.bench import ENGINES, EnginesPlan, run_engines
from worker.bench.engines.environment import environment
from worker.bench.engines.job import Job, Order
from worker.bench.made_up_bundle import write_made_up_bundle
from worker.bench.shop import Shop, encoded


def order(bundle: Path) -> Order:
    return Order(
        bootstrap_servers="",
        group_id="g",
        clickstream="c",
        recommendations="r",
        user_state="s",
        partitions=1,
        bundle=str(bundle),
        folder="",
        batch_events=512,
        batch_wait_s=0.0,
        top_k=7,
        recent_events=8,
        threads=None,
    )


def test_the_job_answers_every_event_and_stores_every_user(tmp_path):
    shop = Shop.of_size(200, 5)
    write_made_up_bundle(tmp_path / "b", shop, dim=8, rank=2, anchors=8, memory=False)
    events = shop.events(30, 1, "e")
    together = Job(order(tmp_path / "b")).process([value for _, value in encoded(events)])
    answers = [msgspec.json.decode(o.answer, type=Recommendation) for o in together]
    assert [a.caused_by for a in answers] == [e.event_id for e in events]
    assert all(len(a.items) == 7 for a in answers)
    states = [o.state for o in together if o.state]
    assert len(states) == len({e.user_id for e in events})
    # One at a time, as a framework without batches does it, gives the same lists.
    job = Job(order(tmp_path / "b"))
    for (_, value), expected in zip(encoded(events), answers, strict=True):
        (output,) = job.process([value])
        assert output.state
        found = msgspec.json.decode(output.answer, type=Recommendation)
        scores = [item.score for item in expected.items]
        assert [item.score for item in found.items] == pytest.approx(scores, abs=1e-4)


def test_a_package_that_is_here_needs_no_environment(tmp_path):
    env = environment(["msgspec"], ["msgspec", "numpy"], tmp_path / "none")
    assert env.python == Path(sys.executable) and not (tmp_path / "none").exists()


def test_an_environment_has_its_own_package_and_those_from_here(tmp_path, monkeypatch):
    monkeypatch.setattr("worker.bench.engines.environment._find_uv", lambda: None)
    installed = []

    def run(command):
        if "pip" in command:
            installed.append(command[-1])
        else:
            subprocess.run([*command, "--without-pip"], check=True)

    monkeypatch.setattr("worker.bench.engines.environment._run", run)
    env = environment(["not-here"], ["not_here"], tmp_path / "env")
    assert installed == ["not-here"]
    code = "import worker.bench.shop, msgspec, sys; print(sys.prefix)"
    done = subprocess.run(
        [env.python, "-c", code], env=env.variables, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()) == tmp_path / "env"


def test_an_unknown_engine_is_refused(tmp_path):
    with pytest.raises(BenchError, match="'flink' is unknown; there are: worker, faust"):
        run_engines(EnginesPlan(engines=("flink",)), tmp_path)


def test_an_engine_that_cannot_be_installed_is_skipped(tmp_path, kafka_broker, monkeypatch):
    monkeypatch.setenv("KAFKA_BOOTSTRAP", kafka_broker.bootstrap_servers)

    def refuse(*_):
        raise BenchError("no index to install from")

    monkeypatch.setattr("worker.bench.engines.bench.environment", refuse)
    report = bench(tmp_path, "engines")
    assert {result.method for result in report.results} == {"worker"}
    assert report.one("worker").figures["events_per_s"].min > 0
    assert report.skipped == {engine.name: "no index to install from" for engine in ENGINES}
