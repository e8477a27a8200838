"""Publish messages of any topic: encoded, keyed, with back-pressure, and with failures counted."""

from __future__ import annotations

import logging

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.codec import Codec, build_codec
from schemas.errors import BrokerError, SettingsError
from schemas.settings import Settings
from schemas.topics import Topic

_LOG = logging.getLogger("innerloop.producer")
_LOG.addHandler(logging.NullHandler())
_POLL_EVERY = 512
_QUEUE_FULL_WAIT_S = 0.05


class Publisher:
    """A producer that is idempotent unless the settings say otherwise.

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
        self._settings = settings
        self._codec: Codec = build_codec(settings.wire)
        self._first_failure = ""
        self._last_trouble = ""
        self._names = {topic: settings.kafka.topic(topic) for topic in Topic}
        config = {
            **settings.kafka.producer_config(),
            # Only failures are called back: what was delivered follows from what is left in the
            # queue, and a call for each message would cost more than sending it.
            "delivery.report.only.error": True,
            "on_delivery": self._on_delivery,
            "error_cb": self._on_error,
        }
        try:
            self._producer = Producer(config, logger=_LOG)
        except KafkaException as error:
            raise SettingsError(
                f"librdkafka refuses its configuration: {error.args[0].str()} [settings "
                "kafka.properties, kafka.producer_properties; -X KEY=VALUE]"
            ) from None

    def check(self, *topics: Topic, timeout: float = 10.0) -> None:
        """Make sure that a broker answers and knows these topics.

        Raises:
            BrokerError: it does not; the message says what would help.
        """
        brokers = self._settings.kafka.bootstrap_servers
        try:
            # All topics: to ask for one by name would create it where brokers are set to do so,
            # with a number of partitions that nobody chose.
            found = self._producer.list_topics(timeout=timeout).topics
        except KafkaException as error:
            self._producer.poll(0)  # hands over what went wrong to `_on_error`
            raise BrokerError(
                f"no Kafka broker answers at {brokers} (setting kafka.bootstrap_servers, "
                f"--bootstrap-servers) within {timeout:g} s: "
                f"{self._last_trouble or error.args[0].str()}. `innerloop broker embedded` or "
                "`innerloop broker kafka` starts one."
            ) from None
        missing = [self._names[topic] for topic in topics if self._names[topic] not in found]
        if missing:
            raise BrokerError(
                f"the brokers at {brokers} have no topic {', '.join(missing)}; "
                "`innerloop topics create` creates what is missing"
            )

    def send(self, topic: Topic, key: str, message: msgspec.Struct) -> None:
        """Hand a message over; waits while the queue is full.

        Raises:
            BrokerError: an earlier message was given up.
            CodecError: the message cannot be encoded.
        """
        name = self._names[topic]
        value = self._codec.encode(name, message)
        while True:
            try:
                # The record's timestamp stays the time of sending: one in the past, as a replayed
                # event's own, would be outside the topic's retention on arrival.
                self._producer.produce(name, value=value, key=key)
                break
            except BufferError:
                self.poll(_QUEUE_FULL_WAIT_S)
            except KafkaException as error:
                raise BrokerError(f"topic {name} does not take a message: {error}") from error
        self.sent += 1
        if self.sent % _POLL_EVERY == 0:
            self.poll()

    def poll(self, timeout: float = 0.0) -> None:
        """Let failures be reported, waiting for up to `timeout` seconds.

        Raises:
            BrokerError: a message was given up.
        """
        self._producer.poll(timeout)
        if self.failed:
            raise BrokerError(
                f"{self.failed} of {self.sent} messages were not delivered, the first because: "
                f"{self._first_failure}{self._trouble()}"
            )

    def flush(self, timeout: float) -> int:
        """Wait for acknowledgements; return how many are outstanding after `timeout` seconds.

        Raises:
            BrokerError: a message was given up (after `message.timeout.ms`).
        """
        waiting: int = self._producer.flush(timeout)
        self.poll()
        return waiting

    def _trouble(self) -> str:
        return f"; {self._last_trouble}" if self._last_trouble else ""

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            return
        if not self.failed:
            self._first_failure = f"topic {message.topic()}: {error.str()}"
        self.failed += 1

    def _on_error(self, error: KafkaError) -> None:
        # Passing trouble: librdkafka goes on trying. Told only if it ends in failure.
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._last_trouble = error.str()
