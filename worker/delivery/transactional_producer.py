"""A transactional producer whose failures are sorted by what can be done about them.

librdkafka's `KafkaError` says which of three it is: the call may be repeated (`retriable`), the
transaction must be aborted (`txn_requires_abort`), or the producer is done for (`fatal`: another
one with its transactional.id is at work, or the coordinator aborted a transaction that took longer
than `transaction.timeout.ms`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from schemas.errors import BrokerError
from schemas.kafka_refusals import AUTHORIZATION, told
from worker.delivery.errors import FencedError, TransactionAbortableError, TransactionLostError

_LOG = logging.getLogger(__name__)

COORDINATOR_TIMEOUT_S = 30.0
_INIT_TIMEOUT_S = 10.0
_PATIENCE_S = 60.0
_RETRY_S = 0.1
# An abort right behind the first record of a transaction can reach the coordinator before the
# transaction is known there, which is fatal (librdkafka's issue 4849): so records go out first.
_FLUSH_BEFORE_ABORT_S = 1.0


class TransactionalProducer:
    """Wraps the calls that can fail for a transaction's sake; for `produce` there is `producer`.

    Args:
        producer: with a transactional.id, used by nobody else.
        name: the transactional.id, for messages.
        coordinator_s: how long the group's coordinator may take to answer, seconds.
    """

    def __init__(
        self, producer: Producer, name: str, coordinator_s: float = COORDINATOR_TIMEOUT_S
    ) -> None:
        self.producer = producer
        self.name = name
        self._coordinator_s = coordinator_s
        self.done_for = False
        """Whether it has ended, by a fatal error or a call that does not return."""

    def start(self) -> None:
        """Fence earlier producers of this name and have their open transactions aborted.

        Raises:
            BrokerError: the brokers do not do it within a minute, or refuse.
        """
        self._call("begin with", lambda: self.producer.init_transactions(_INIT_TIMEOUT_S))

    def begin(self) -> None:
        """Begin a transaction.

        Raises:
            FencedError: never again.
        """
        self._call("begin", self.producer.begin_transaction)

    def commit(self, offsets: Sequence[TopicPartition], group_metadata: bytes) -> None:
        """Commit the transaction together with offsets; blocks until that is done.

        Args:
            offsets: the next offset to read of each partition.
            group_metadata: of the consumer, as of when it held these partitions.

        Raises:
            TransactionAbortableError: a record was not taken, or the group is another one by now.
            TransactionLostError: the group's coordinator does not answer.
            FencedError: never again.
            BrokerError: the coordinator cannot be reached, or refuses.
        """
        self._call(
            "send offsets to",
            lambda: self._bounded(
                lambda: self.producer.send_offsets_to_transaction(list(offsets), group_metadata)
            ),
        )
        self._call("commit", self.producer.commit_transaction)

    def abort(self) -> None:
        """Abort the transaction; blocks until that is done.

        Raises:
            FencedError: never again.
            BrokerError: the coordinator cannot be reached.
        """
        if len(self.producer):
            self.flush(_FLUSH_BEFORE_ABORT_S)
        self._call("abort", self.producer.abort_transaction)

    def poll(self, timeout_s: float) -> None:
        """Serve delivery callbacks.

        Raises:
            FencedError: never again.
        """
        self._call("go on with", lambda: self.producer.poll(timeout_s))

    def flush(self, timeout_s: float) -> None:
        """Wait until everything produced has been delivered or has failed.

        Raises:
            FencedError: never again.
        """
        self._call("go on with", lambda: self.producer.flush(timeout_s))

    def check(self, error: KafkaError) -> None:
        """Raise BrokerError if there is no access, FencedError if else it ends the producer."""
        if error.code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
            self.done_for = True
            raise BrokerError(f"transactions of {self.name} are not allowed: {told(error)}")
        if error.fatal() or error.code() in {KafkaError._FATAL, KafkaError._FENCED}:
            self.done_for = True
            raise FencedError(
                f"transactions of {self.name} are at an end: {error.str()}. Either another worker "
                "goes by the same worker.instance_id, or a transaction took longer than "
                "worker.transaction_timeout_ms, be it for a pause of this process. What was not "
                "committed is invisible; a restart processes it again"
            )

    def _bounded(self, function: Callable[[], None]) -> None:
        """Call a function that may not return (librdkafka's issue 5456), in a thread of its own."""
        errors: list[Exception] = []

        def call() -> None:
            try:
                function()
            except KafkaException as error:
                errors.append(error)

        thread = threading.Thread(target=call, name="send offsets", daemon=True)
        thread.start()
        thread.join(self._coordinator_s)
        if thread.is_alive():
            self.done_for = True  # the call goes on; another producer of this name ends it
            raise TransactionLostError(
                f"offsets could not be sent to a transaction of {self.name} for "
                f"{self._coordinator_s:g} s"
            )
        for error in errors:
            raise error

    def _call(self, what: str, function: Callable[[], object]) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                function()
            except KafkaException as exception:
                error: KafkaError = exception.args[0]
                self.check(error)
                if error.txn_requires_abort() and error.code() not in AUTHORIZATION:
                    raise TransactionAbortableError(error.str()) from exception
                if not error.retriable() or time.monotonic() > deadline:
                    raise BrokerError(
                        f"cannot {what} a transaction of {self.name}: {told(error)}"
                    ) from exception
                _LOG.warning("cannot %s a transaction yet: %s", what, error.str())
                time.sleep(_RETRY_S)
            else:
                return
