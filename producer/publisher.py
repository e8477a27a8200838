"""Publish messages of any topic: with back-pressure, and at the first failure an end."""

from __future__ import annotations

import msgspec
from confluent_kafka import KafkaError, Message

from producer.outbox import Outbox
from schemas.errors import BrokerError, QueueFullError
from schemas.kafka_refusals import told
from schemas.settings import Settings
from schemas.topics import Topic

_POLL_EVERY = 512
_QUEUE_FULL_WAIT_S = 0.05


class Publisher:
    """Publishes whole data sets: a message that was given up fails whatever is called next.

    Messages of one key keep their order. Nothing is known to have arrived before `flush`.

    Args:
        settings: brokers, wire format.

    Raises:
        SettingsError: librdkafka refuses a property, or the wire format is not fully configured.
    """

    def __init__(self, settings: Settings) -> None:
        self.sent = 0
        """Messages handed over."""
        self.failed = 0
        """Messages that were given up."""
        self._first_failure = ""
        # Only failures are called back: what was delivered follows from what is left in the
        # queue, and a call for each message would cost more than sending it.
        overrides = {"delivery.report.only.error": True}
        self._outbox = Outbox(settings, self._on_failure, **overrides)

    def check(self, *topics: Topic, timeout: float = 10.0) -> None:
        """Make sure that a broker answers and knows these topics.

        Raises:
            BrokerError: it does not; the message says what would help.
        """
        self._outbox.check(*topics, timeout=timeout)

    def send(self, topic: Topic, key: str, message: msgspec.Struct) -> None:
        """Hand a message over; waits while the queue is full.

        Raises:
            BrokerError: an earlier message was given up.
            CodecError: the message cannot be encoded.
        """
        value = self._outbox.encode(topic, message)
        while True:
            try:
                self._outbox.produce(topic, key, value)
                break
            except QueueFullError:
                self.poll(_QUEUE_FULL_WAIT_S)
        self.sent += 1
        if self.sent % _POLL_EVERY == 0:
            self.poll()

    def poll(self, timeout: float = 0.0) -> None:
        """Let failures be reported, waiting for up to `timeout` seconds.

        Raises:
            BrokerError: a message was given up.
        """
        self._outbox.poll(timeout)
        if self.failed:
            raise BrokerError(
                f"{self.failed} of {self.sent} messages were not delivered, the first because: "
                f"{self._first_failure}{self._outbox.told_trouble()}"
            )

    def flush(self, timeout: float) -> int:
        """Wait for acknowledgements; return how many are outstanding after `timeout` seconds.

        Raises:
            BrokerError: a message was given up (after `message.timeout.ms`).
        """
        waiting = self._outbox.flush(timeout)
        self.poll()
        return waiting

    def _on_failure(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            return
        if not self.failed:
            self._first_failure = f"topic {message.topic()}: {told(error)}"
        self.failed += 1
