"""Faults of the collector, the gateway and the sink, and a worker that does not stay up."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from answers import answer, publish
from asking import prometheus, wait_until
from deployments import doors_at, environment, ports_of, process, said
from provoking import Provoking
from redis_servers import RedisServer
from running_worker import with_worker
from short_lives import Lives

from schemas.settings import Settings
from worker.broker.embedded import EmbeddedBroker
from worker.kafka_admin import create_topics

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

NAMES = ("worker", "collector", "gateway", "sink")
VIEW = {"type": "view", "user_id": "visitor-1", "item_id": "i1"}
GIVEN = {
    "KAFKA__CONSUMER_PROPERTIES__SESSION_TIMEOUT_MS": 6000,
    "COLLECTOR__ACKNOWLEDGE_MS": 500,
    "GATEWAY__MAX_STREAMS": 1,
    "SINK__LONGEST_BACKOFF_SECONDS": 0.5,
}


class Edges:
    """Collector, gateway and sink, on a broker that is theirs and a worker's alone."""

    def __init__(self, settings: Settings, folder: Path, lives: Lives, stack: ExitStack) -> None:
        self._folder = folder
        self._lives = lives
        self.redis = RedisServer(Path(stack.enter_context(TemporaryDirectory())))
        stack.callback(self.redis.stop)
        self.redis.start()
        ports = ports_of(stack)
        self.doors = doors_at(ports)
        given = environment(settings, ports, folder, SINK__REDIS_URL=self.redis.url, **GIVEN)
        for name in NAMES[1:]:
            stack.enter_context(process(name, given, folder))
        settings = with_worker(settings)
        metrics = settings.metrics.model_copy(update={"port": ports["worker"]})
        self._of_worker = settings.model_copy(update={"metrics": metrics})
        self._worker = lives.start(self._of_worker)
        targets = {f"innerloop-{name}": [f"127.0.0.1:{ports[name]}"] for name in NAMES}
        self.asking = stack.enter_context(prometheus(folder / "prometheus", targets))

    def said(self) -> str:
        return said(self._folder)

    def await_scraped(self) -> None:
        """Wait until all processes answer Prometheus, and take requests."""

        def all_answer() -> bool:
            return len(self.asking.query('up{job=~"innerloop-.*"} == 1')) == len(NAMES)

        wait_until(all_answer, "all processes scraped", self.said)

    def began(self) -> list[str]:
        """Return when the worker was started, as Prometheus has it; nothing while it is away."""
        found = self.asking.query('process_start_time_seconds{job="innerloop-worker"}')
        return [series["value"][1] for series in found]

    def worker_dies_and_comes_back(self) -> None:
        before = self.began()
        self._worker.kill()
        self._worker.join()
        self._worker = self._lives.start(self._of_worker)
        wait_until(lambda: self.began() not in ([], before), "the worker anew", self.said)

    def second_page(self) -> None:
        """Open a page more than the gateway may have."""
        with self.doors.page("visitor-2"):
            pass


@pytest.fixture
def lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lives]:
    # The server that workers are forked off does not look for modules where this process does.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    lives = Lives(tmp_path)
    yield lives
    lives.end()


@contextmanager
def hanging(broker: EmbeddedBroker) -> Iterator[None]:
    """Stop a broker's process: connections stay, and nothing comes."""
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(broker.pid, signal.SIGCONT)


def test_faults_of_collector_gateway_and_sink(
    make_settings: Callable[[str], Settings], tmp_path: Path, lives: Lives
) -> None:
    with EmbeddedBroker() as broker, ExitStack() as stack:
        settings = make_settings(broker.bootstrap_servers)
        create_topics(settings)
        publish(settings, answer("visitor-1", "event-1"))
        edges = Edges(settings, tmp_path, lives, stack)
        alerts, doors = Provoking(edges.asking, "collector, gateway and sink"), edges.doors
        edges.await_scraped()
        alerts.fires("InnerloopRestarts", meanwhile=edges.worker_dies_and_comes_back)

        wait_until(lambda: doors.look("visitor-1") == 200, "the gateway serving", edges.said)
        edges.redis.stop()
        publish(settings, answer("visitor-1", "event-2"))
        with doors.page("visitor-1") as status:
            assert status == 200
            away = ("InnerloopGatewayErrors", "InnerloopSinkFails")
            alerts.fires(*away, meanwhile=edges.second_page)
        edges.redis.start()

        wait_until(lambda: doors.send(VIEW) == 202, "the collector accepting", edges.said)
        with hanging(broker):
            alerts.fires("InnerloopCollectorErrors", meanwhile=lambda: doors.send(VIEW))

        def all_serve() -> bool:
            return doors.send(VIEW) == 202 and doors.look("visitor-1") == 200

        wait_until(all_serve, "collector and gateway serving again", edges.said)
        alerts.falls_silent(*away, "InnerloopCollectorErrors", "InnerloopRestarts")
        alerts.assert_all_were_provoked()
