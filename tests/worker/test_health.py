"""Endpoints that say whether the worker lives and is ready, and a report of where it is stuck."""

import threading
import time
import urllib.error
import urllib.request

import pytest
from running_worker import make_topics, running, wait_until, with_worker

from schemas.settings import MetricsSettings
from worker.health import Health, watched
from worker.metrics import WorkerMetrics
from worker.metrics_endpoint import serve_metrics


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def ask(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def health(clock):
    return Health(stuck_s=60, clock=clock)


def test_it_lives_while_it_starts_and_is_ready_when_everything_is_read(health, clock):
    clock.now += 10_000
    assert health.stuck() is None
    assert health.not_ready() == "waiting for the catalogue"
    health.came_round("users' states")
    assert health.not_ready() == "waiting for users' states"
    health.came_round()
    assert health.not_ready() is None
    health.starting()
    assert health.not_ready() == "waiting for the catalogue"


def test_prometheus_sees_whether_it_is_ready_and_when_the_loop_came_round(health, clock):
    metrics = WorkerMetrics()
    metrics.watch(health)
    sample = metrics.registry.get_sample_value
    round_name = "innerloop_loop_round_timestamp_seconds"
    assert (sample("innerloop_ready"), sample(round_name)) == (0, 0)
    health.came_round("users' states")
    assert sample("innerloop_ready") == 0
    health.came_round()
    assert sample("innerloop_ready") == 1
    clock.now += 30
    assert abs(time.time() - 30 - sample(round_name)) < 20
    clock.now += 31
    assert sample("innerloop_ready") == 0


def test_a_loop_that_does_not_come_round_is_stuck(health, clock):
    health.came_round()
    clock.now += 60
    assert health.stuck() is None
    clock.now += 1
    assert health.stuck() == health.not_ready()
    assert "not come round for 61 s" in health.stuck()
    health.came_round()
    assert health.stuck() is None


def test_both_are_served_beside_the_metrics(health, clock):
    with serve_metrics(WorkerMetrics(), MetricsSettings(port=0), health) as port:
        assert ask(port, "/health") == (200, "ok\n")
        assert ask(port, "/ready") == (503, "waiting for the catalogue\n")
        health.came_round()
        assert ask(port, "/ready") == (200, "ok\n")
        clock.now += 100
        assert ask(port, "/health")[0] == 503
        status, text = ask(port, "/metrics")
        assert status == 200 and "innerloop_records_total" in text


def test_where_it_is_stuck_is_reported_once_each_time(caplog):
    health = Health(stuck_s=0.2)
    dumped = threading.Semaphore(0)
    with watched(health, dump=dumped.release):
        for _ in range(2):
            health.came_round()
            assert dumped.acquire(timeout=120)
            assert not dumped.acquire(timeout=0.5), "reported twice"
            health.came_round()
            wait_until(lambda: health.stuck() is None, "a loop that comes round")
            # The watchdog must have seen it, to report the next time.
            for _ in range(20):
                health.came_round()
                threading.Event().wait(0.02)
    assert "stuck: the loop has not come round" in caplog.text


def test_a_worker_is_ready_when_it_serves(kafka_settings):
    settings = with_worker(kafka_settings)
    make_topics(settings)
    with running(settings) as worker:
        port = worker.service.metrics_port
        wait_until(lambda: ask(port, "/ready") == (200, "ok\n"), "ready")
        assert ask(port, "/health") == (200, "ok\n")
