"""Delivery at least once goes on beside the next micro-batch, in order, and stops at a failure."""

import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from schemas.errors import BrokerError
from worker.delivery import at_least_once
from worker.delivery.at_least_once import AtLeastOnce
from worker.metrics import Rebalance, WorkerMetrics
from worker.stages.publish import OutgoingRecord, PublishError

PATIENCE_S = 120.0


class Brokers:
    """Take the place of publisher and committer: acknowledge when they are let."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.let = threading.Semaphore(0)
        self.refused = ""

    def __call__(self, _producer) -> "Brokers":
        return self  # the publisher that is made

    def publish(self, records) -> None:
        self._take(records[0].value.decode())

    def commit(self, next_offsets) -> None:
        self._take(f"commit {next_offsets[0]}", waits=False)

    def retry(self) -> None:
        self.calls.append("retry")

    def flush(self, _timeout_s) -> int:
        return 0

    def _take(self, what: str, *, waits: bool = True) -> None:
        assert not waits or self.let.acquire(timeout=PATIENCE_S)
        if what == self.refused:
            raise PublishError(f"{what} was refused")
        self.calls.append(what)

    def acknowledge(self, count: int) -> None:
        self.let.release(count)


@pytest.fixture
def brokers(monkeypatch) -> Brokers:
    brokers = Brokers()
    monkeypatch.setattr(at_least_once, "Publisher", brokers)
    return brokers


@pytest.fixture
def metrics() -> WorkerMetrics:
    return WorkerMetrics()


@pytest.fixture
def delivery(brokers, metrics):
    yield AtLeastOnce(brokers, brokers, metrics, commit_every_s=0.0)
    brokers.acknowledge(100)  # or its thread would wait on


def batch(delivery: AtLeastOnce, number: int) -> None:
    for part in "ab":
        delivery.publish([OutgoingRecord("t", 0, b"k", f"{number}{part}".encode())])
    delivery.commit({0: number})


def test_one_micro_batch_waits_for_the_brokers_beside_the_next(delivery, brokers):
    visible = []
    delivery.on_visible(lambda batches: visible.append((batches, list(brokers.calls))))
    batch(delivery, 1)  # nothing is acknowledged, and it does not wait
    assert brokers.calls == [] and delivery.due_s < PATIENCE_S
    with ThreadPoolExecutor(1) as other:
        second = other.submit(batch, delivery, 2)  # waits for the first one
        brokers.acknowledge(2)
        second.result(PATIENCE_S)
    assert brokers.calls == ["1a", "1b", "commit 1"]
    brokers.acknowledge(2)
    delivery.give_up(Rebalance.REVOKED)
    assert brokers.calls == ["1a", "1b", "commit 1", "2a", "2b", "commit 2", "retry"]
    assert visible == [(1, ["1a"]), (1, ["1a", "1b", "commit 1", "2a"])]
    assert delivery.due_s == math.inf


@pytest.mark.parametrize("refused", ["1a", "1b"])
def test_after_a_failure_nothing_more_is_done_and_all_say_why(delivery, brokers, refused):
    brokers.refused = refused
    brokers.acknowledge(100)
    with pytest.raises(BrokerError, match=f"{refused} was refused"):
        for number in (1, 2, 3):
            batch(delivery, number)
    assert brokers.calls == (["1a"] if refused == "1b" else [])
    for call in (delivery.polled, lambda: delivery.settle(more=False)):
        with pytest.raises(BrokerError, match="refused"):
            call()
    assert not delivery.close()  # it was raised before
    assert brokers.calls == (["1a"] if refused == "1b" else [])


def test_no_mistake_in_the_thread_goes_unnoticed(delivery, brokers):
    delivery.on_visible(lambda batches: [][batches])
    brokers.acknowledge(100)
    with pytest.raises(IndexError):
        for number in (1, 2, 3):
            batch(delivery, number)
    assert not delivery.close()
    assert brokers.calls == ["1a"]


def test_a_commit_that_is_refused_is_raised(delivery, brokers):
    brokers.refused = "commit 1"
    brokers.acknowledge(2)
    with pytest.raises(BrokerError, match="commit 1 was refused"):
        batch(delivery, 1)
        while delivery.due_s < PATIENCE_S:
            delivery.polled()
    assert brokers.calls == ["1a", "1b"]


@pytest.mark.parametrize("how", [Rebalance.REVOKED, Rebalance.LOST])
def test_commits_are_apart_but_for_the_last_one(brokers, metrics, how):
    delivery = AtLeastOnce(brokers, brokers, metrics, commit_every_s=3600.0)
    brokers.acknowledge(100)
    for number in (1, 2, 3):
        batch(delivery, number)
        while delivery.due_s < PATIENCE_S:
            delivery.polled()
    parts = ["1a", "1b", "commit 1", "2a", "2b", "3a", "3b"]
    assert brokers.calls == parts
    delivery.give_up(how)
    assert brokers.calls == parts + (["commit 3", "retry"] if how is Rebalance.REVOKED else [])
    assert delivery.close()
    assert "commit 3" not in brokers.calls[len(parts) + 1 :]


def test_the_end_waits_and_tells_of_a_failure(delivery, brokers):
    brokers.refused = "1b"
    batch(delivery, 1)
    brokers.acknowledge(2)
    with pytest.raises(PublishError, match="1b was refused"):
        delivery.close()
    delivery.give_up(Rebalance.REVOKED)  # by the consumer's close
    assert brokers.calls == ["1a"]


def test_the_end_commits_what_is_under_way(delivery, brokers, metrics):
    batch(delivery, 1)
    brokers.acknowledge(2)
    assert delivery.close()
    assert brokers.calls == ["1a", "1b", "commit 1", "retry"]
    name = "innerloop_stage_seconds_count"
    assert metrics.registry.get_sample_value(name, {"stage": "commit"}) == 1


def test_what_is_lost_is_not_committed(delivery, brokers):
    batch(delivery, 1)
    brokers.acknowledge(2)
    delivery.give_up(Rebalance.LOST)
    delivery.settle(more=False)
    assert brokers.calls == ["1a", "1b", "retry"]


def test_settling_waits_for_nothing(delivery, brokers):
    batch(delivery, 1)
    delivery.settle(more=False)
    assert brokers.calls == ["retry"]
