"""Alerts are made to fire, and to fall silent, by faults of real processes.

Prometheus and its rules are the real ones; windows and patience are shortened (`asking.shortened`).
`provoking.PROVOKED` says which test provokes which alert.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from asking import prometheus, wait_until
from busy_shop import BusyShop, publish_items
from confluent_kafka import Producer
from fake_model import FakeModel
from prometheus_files import rules
from provoking import PROVOKED, Provoking
from running_worker import make_topics, with_worker

from schemas.settings import Settings
from schemas.topics import Topic
from worker.broker.readiness import reserved_port
from worker.service import WorkerService

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

ITEMS = 5
MANY_ITEMS = 400


class Device:
    """What models run on, which may hang or be slow."""

    def __init__(self) -> None:
        self._answers = threading.Event()
        self._answers.set()
        self.slow_s = 0.0

    def work(self) -> None:
        self._answers.wait()
        if self.slow_s:
            threading.Event().wait(self.slow_s)

    @contextmanager
    def hanging(self) -> Iterator[None]:
        self._answers.clear()
        try:
            yield
        finally:
            self._answers.set()


class Model(FakeModel):
    """Does its work on a device."""

    def __init__(self, device: Device, version: str = "fake-1") -> None:
        super().__init__(version)
        self._device = device

    def item_vectors(self, item_ids, texts):
        self._device.work()
        return super().item_vectors(item_ids, texts)

    def adapt(self, users, targets, types, gaps):
        self._device.work()
        return super().adapt(users, targets, types, gaps)


@contextmanager
def worker(settings: Settings, model: Model, port: int) -> Iterator[WorkerService]:
    """Run a worker, which may take its time to be ready."""
    metrics = settings.metrics.model_copy(update={"port": port})
    service = WorkerService(settings.model_copy(update={"metrics": metrics}), model)
    thread = threading.Thread(target=service.run, name=f"worker at {port}", daemon=True)
    thread.start()
    try:
        yield service
        assert thread.is_alive(), "the worker ended by itself"
    finally:
        service.stop()
        thread.join(120)
    assert not thread.is_alive()


class Shop:
    """A shop with a worker, visitors, and a Prometheus that knows of a second worker."""

    def __init__(self, settings: Settings, folder: Path, stack: ExitStack) -> None:
        self.settings = settings
        self.device = Device()
        self.ports = [stack.enter_context(reserved_port()) for _ in range(2)]
        addresses = [f"127.0.0.1:{port}" for port in self.ports]
        targets = {"innerloop-worker": addresses}
        self.asking = stack.enter_context(prometheus(folder, targets))
        self.visitors = stack.enter_context(BusyShop(settings, ITEMS))

    def say(self, garbage: str, topic: Topic) -> None:
        """Put something on a topic that does not belong there."""
        producer = Producer(self.settings.kafka.producer_config())
        producer.produce(self.settings.kafka.topic(topic), key="somebody", value=garbage)
        assert producer.flush(60) == 0


@pytest.fixture
def shop(embedded_settings: Settings, tmp_path: Path) -> Iterator[Shop]:
    settings = with_worker(embedded_settings, batch_events=16, dead_letter_ratio=1.0)
    make_topics(settings)
    publish_items(settings, range(ITEMS))
    with ExitStack() as stack:
        yield Shop(settings, tmp_path, stack)


def test_faults_of_one_worker_and_its_visitors(shop: Shop) -> None:
    alerts = Provoking(shop.asking, "one worker and its visitors")
    alerts.fires("InnerloopNoWorker")
    with worker(shop.settings, Model(shop.device), shop.ports[0]):
        alerts.falls_silent("InnerloopNoWorker")

        # One that hangs while it starts is not stuck but not ready: the other test's.
        wait_until(lambda: bool(shop.asking.query("innerloop_ready == 1")), "the worker ready")
        with shop.device.hanging():
            alerts.fires("InnerloopWorkerStuck")
        alerts.falls_silent("InnerloopWorkerStuck")

        shop.visitors.garbage = 0.5
        shop.device.slow_s = 1.0
        late = (
            "InnerloopDeadLetters",
            "InnerloopLagGrowing",
            "InnerloopLatencyBudgetBurnsFast",
            "InnerloopLatencyBudgetBurnsSlowly",
        )
        alerts.fires(*late)
        shop.visitors.garbage = 0.0
        shop.device.slow_s = 0.0
        alerts.falls_silent(*late)

        publish_items(shop.settings, range(ITEMS, MANY_ITEMS))
        shop.visitors.items = MANY_ITEMS
        alerts.fires("InnerloopHitRateDrop")
        alerts.falls_silent("InnerloopHitRateDrop")

        shop.visitors.open.clear()
        shop.say("forget somebody", Topic.PRIVACY)
        alerts.fires("InnerloopNoEvents", "InnerloopPrivacyRequestUnread")
        shop.visitors.open.set()
        alerts.falls_silent("InnerloopNoEvents", "InnerloopPrivacyRequestUnread")
    alerts.assert_all_were_provoked()


def test_faults_of_a_second_worker(shop: Shop) -> None:
    alerts = Provoking(shop.asking, "a second worker")
    first, second = shop.ports
    slow_encoder = Device()
    with worker(shop.settings, Model(shop.device), first) as service:
        wait_until(service.serving.is_set, "the first worker serving")
        with slow_encoder.hanging(), worker(shop.settings, Model(slow_encoder, "fake-2"), second):
            alerts.fires("InnerloopRestoreTooLong", "InnerloopBundleMismatch")
            slow_encoder._answers.set()
            alerts.falls_silent("InnerloopRestoreTooLong")
        alerts.falls_silent("InnerloopBundleMismatch")
        alerts.fires("InnerloopProcessDown")
        with worker(shop.settings, Model(shop.device), second):
            alerts.falls_silent("InnerloopProcessDown")
    alerts.assert_all_were_provoked()


def test_no_alert_is_forgotten() -> None:
    assert set().union(*PROVOKED.values()) == {rule["alert"] for rule in rules("alert")}
