"""Which calls make up a transaction, and what becomes of one that fails."""

import threading
from dataclasses import dataclass, field, replace

import pytest
from confluent_kafka import KafkaError, KafkaException

from worker.delivery import exactly_once
from worker.delivery.errors import (
    FencedError,
    TransactionAbortableError,
    TransactionLostError,
)
from worker.delivery.exactly_once import ExactlyOnce
from worker.delivery.membership import is_member
from worker.delivery.transactional_producer import TransactionalProducer
from worker.metrics import Rebalance, WorkerMetrics
from worker.stages.publish import OutgoingRecord, RecordColumns


@dataclass
class Script:
    """Takes the place of `TransactionalProducer`; raises what it is told, call by call."""

    errors: dict[str, list[Exception | None]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    headers: list[list[tuple[str, bytes]] | None] = field(default_factory=list)
    name: str = "t"
    done_for: bool = False

    def __post_init__(self) -> None:
        self.producer = self

    def _say(self, call: str, shown: str | None = None) -> None:
        self.calls.append(shown or call)
        planned = self.errors.get(call)
        error = planned.pop(0) if planned else None
        if error is not None:
            raise error

    def produce(self, topic, value, key, partition, on_delivery, headers=None) -> None:
        self._say("produce", value.decode())
        self.headers.append(headers)

    def begin(self) -> None:
        self._say("begin")

    def commit(self, offsets, group_metadata) -> None:
        shown = ",".join(f"{p.partition}:{p.offset}" for p in offsets)
        self._say("commit", f"commit {shown} {group_metadata.decode()}")

    def abort(self) -> None:
        self._say("abort")

    def poll(self, timeout_s) -> None:
        pass

    def check(self, error) -> None:
        pass

    flush = poll


class Group:
    """Takes the place of `Membership`."""

    def __init__(self) -> None:
        self.generation = 1
        self.metadata: bytes | None = None

    def observe(self) -> None:
        self.metadata = None if self.generation < 0 else b"g%d" % self.generation


@pytest.fixture
def script():
    return Script()


@pytest.fixture
def group():
    return Group()


@pytest.fixture
def delivery(script, group, monkeypatch):
    monkeypatch.setattr(exactly_once, "_RETRY_S", 0.0)
    made = ExactlyOnce(script, group, "clickstream", WorkerMetrics(), interval_s=3600)
    made.polled()
    return made


def batch(delivery, *values: str, end: int) -> None:
    for value in values:
        delivery.publish([OutgoingRecord("t", 0, b"k", value.encode())])
    delivery.commit({0: end})


def test_records_and_offsets_are_one_transaction(delivery, script):
    visible = []
    delivery.on_visible(lambda batches: visible.append((batches, len(script.calls))))
    batch(delivery, "a", "b", end=5)
    assert script.calls == ["begin", "a", "b"] and not visible
    delivery.settle(more=False)
    assert script.calls == ["begin", "a", "b", "commit 0:5 g1"] and visible == [(1, 4)]
    delivery.settle(more=False)
    assert len(script.calls) == 4, "there was nothing more to commit"


def test_offsets_without_records_are_committed_too(delivery, script):
    delivery.publish([])
    delivery.commit({1: 3})
    delivery.settle(more=False)
    assert script.calls == ["begin", "commit 1:3 g1"]


def test_more_micro_batches_join_while_records_are_waiting(delivery, script):
    batch(delivery, "a", end=1)
    delivery.settle(more=True)
    batch(delivery, "b", end=2)
    delivery.settle(more=False)
    assert script.calls == ["begin", "a", "b", "commit 0:2 g1"]


def test_the_interval_ends_a_transaction(script, group):
    delivery = ExactlyOnce(script, group, "clickstream", WorkerMetrics(), interval_s=0)
    delivery.polled()
    batch(delivery, "a", end=1)
    delivery.settle(more=True)
    assert script.calls[-1] == "commit 0:1 g1"


def test_what_was_aborted_is_produced_again_under_the_generation_of_the_next_poll(
    delivery, script, group
):
    script.errors["commit"] = [TransactionAbortableError("illegal generation"), None]
    batch(delivery, "a", end=1)
    group.generation = 2  # in the background; not to be used before callbacks were served
    delivery.settle(more=False)
    assert script.calls == ["begin", "a", "commit 0:1 g1", "abort"]
    delivery.polled()
    batch(delivery, "b", end=2)
    delivery.settle(more=True)
    assert script.calls[4:] == ["begin", "a", "b", "commit 0:2 g2"]


def test_without_a_generation_nothing_is_committed(delivery, script, group):
    group.generation = -1
    delivery.polled()
    batch(delivery, "a", end=1)
    delivery.settle(more=False)
    assert script.calls == ["begin", "a", "abort"]


def test_a_transaction_that_never_goes_through_is_lost(delivery, script, monkeypatch):
    monkeypatch.setattr(exactly_once, "_TRY_FOR_S", -1.0)
    script.errors["commit"] = [TransactionAbortableError("no")] * 9
    batch(delivery, "a", end=1)
    with pytest.raises(TransactionLostError, match="again and again: no"):
        delivery.settle(more=False)


def test_a_record_that_is_not_taken_keeps_the_transaction_from_committing(delivery, script):
    script.errors["produce"] = [None, KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))]
    batch(delivery, "a", "b", end=1)
    delivery.settle(more=False)
    assert script.calls == ["begin", "a", "b", "abort"]
    delivery.settle(more=False)
    assert script.calls[4:] == ["begin", "a", "b", "commit 0:1 g1"]


def columns(*values: str) -> RecordColumns:
    n = len(values)
    return RecordColumns("t", [0] * n, [b"k"] * n, [value.encode() for value in values])


def test_columns_are_produced_in_order_and_all_again_after_an_abort(delivery, script):
    script.errors["commit"] = [TransactionAbortableError("illegal generation"), None]
    delivery.publish(columns("a", "b"))
    delivery.publish(columns())
    delivery.publish([OutgoingRecord("t", 0, b"k", b"c")])
    delivery.publish(columns("d", "e"))
    delivery.commit({0: 3})
    delivery.settle(more=False)
    assert script.calls == ["begin", *"abcde", "commit 0:3 g1", "abort"]
    delivery.polled()
    delivery.settle(more=False)
    assert script.calls[8:] == ["begin", *"abcde", "commit 0:3 g1"]


def test_columns_keep_their_headers_when_they_are_produced_again(delivery, script):
    script.errors["commit"] = [TransactionAbortableError("illegal generation"), None]
    headers = [None, [("traceparent", b"x")]]
    delivery.publish(replace(columns("a", "b"), headers=headers))
    delivery.commit({0: 2})
    delivery.settle(more=False)
    delivery.polled()
    delivery.settle(more=False)
    tried = ["begin", "a", "b", "commit 0:2 g1"]
    assert script.calls == [*tried, "abort", *tried]
    assert script.headers == headers * 2


def test_a_column_waits_for_room_and_ends_with_a_record_that_is_refused(delivery, script):
    refused = KafkaException(KafkaError(KafkaError._UNKNOWN_PARTITION))
    script.errors["produce"] = [None, BufferError(), BufferError(), None, refused, refused]
    delivery.publish(columns("a", "b", "c", "d"))
    delivery.commit({0: 4})
    assert script.calls == ["begin", "a", "b", "b", "b", "c", "c"]
    delivery.settle(more=False)
    assert script.calls[7:] == ["abort"]
    delivery.settle(more=False)
    assert script.calls[8:] == ["begin", *"abcd", "commit 0:4 g1"]


def test_it_is_committed_before_partitions_are_revoked(delivery, script, group):
    batch(delivery, "a", end=1)
    group.generation = 7
    delivery.give_up(Rebalance.REVOKED)
    assert script.calls == ["begin", "a", "commit 0:1 g7"]
    delivery.polled()


def test_if_it_cannot_be_committed_by_then_it_is_lost(delivery, script):
    script.errors["commit"] = [TransactionAbortableError("unknown member")]
    batch(delivery, "a", end=1)
    delivery.give_up(Rebalance.REVOKED)
    assert script.calls[-1] == "abort"
    with pytest.raises(TransactionLostError, match="revoked"):
        delivery.polled()


def test_of_lost_partitions_nothing_is_committed(delivery, script):
    batch(delivery, "a", end=1)
    delivery.give_up(Rebalance.LOST)
    assert script.calls == ["begin", "a", "abort"]
    with pytest.raises(TransactionLostError, match="lost"):
        delivery.polled()


def test_partitions_that_go_with_nothing_open_cost_nothing(delivery, script):
    delivery.give_up(Rebalance.LOST)
    delivery.give_up(Rebalance.REVOKED)
    delivery.polled()
    assert script.calls == []


@pytest.mark.parametrize(("complete", "last"), [(True, "commit 0:1 g1"), (False, "abort")])
def test_at_the_end_whole_micro_batches_are_committed(delivery, script, complete, last):
    batch(delivery, "a", end=1)
    if not complete:
        delivery.publish([OutgoingRecord("t", 0, b"k", b"b")])
    delivery.close()
    assert script.calls[-1] == last


class Failing:
    """A producer whose calls fail as told, then succeed."""

    def __init__(self, *errors: KafkaError) -> None:
        self._errors = list(errors)

    def commit_transaction(self) -> None:
        if self._errors:
            raise KafkaException(self._errors.pop(0))

    def send_offsets_to_transaction(self, offsets, metadata) -> None:
        pass


def error(**flags: bool) -> KafkaError:
    return KafkaError(KafkaError.UNKNOWN, "it failed", **flags)


def test_errors_are_sorted_by_what_can_be_done():
    retriable = error(retriable=True)
    TransactionalProducer(Failing(retriable, retriable), "t").commit([], b"")
    with pytest.raises(TransactionAbortableError, match="it failed"):
        TransactionalProducer(Failing(error(txn_requires_abort=True)), "t").commit([], b"")
    doomed = TransactionalProducer(Failing(error(fatal=True)), "t")
    with pytest.raises(FencedError, match=r"at an end: it failed.*transaction_timeout_ms"):
        doomed.commit([], b"")
    assert doomed.done_for


class Silent(Failing):
    """A producer whose coordinator never answers."""

    def __init__(self) -> None:
        super().__init__()
        self.over = threading.Event()

    def send_offsets_to_transaction(self, offsets, metadata) -> None:
        self.over.wait(60)


def test_a_coordinator_that_never_answers_loses_the_transaction():
    silent = Silent()
    producer = TransactionalProducer(silent, "t", coordinator_s=0.05)
    with pytest.raises(TransactionLostError, match=r"for 0\.05 s"):
        producer.commit([], b"")
    assert producer.done_for
    silent.over.set()


@pytest.mark.parametrize(
    ("metadata", "member"),
    [
        (b"CGMDv2:\x01\x00\x00\x00g\x00m\x00\x01", True),
        (b"CGMDv2:\xff\xff\xff\xffg\x00\x00\x01", False),
        (b"CGMDv2:\x00\x00\x00\x00g\x00m\x00\x01", False),
        (b"CGMDv2:", False),
        (b"something else", False),
    ],
)
def test_only_metadata_with_a_generation_can_be_fenced(metadata, member):
    assert is_member(metadata) is member
