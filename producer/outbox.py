"""One idempotent Kafka producer: messages are encoded, keyed, and handed to librdkafka."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.codec import Codec, build_codec
from schemas.errors import BrokerError, QueueFullError, RefusedError, SettingsError
from schemas.kafka_refusals import ask_for_topics, is_refusal, told
from schemas.settings import Settings
from schemas.topics import Topic

_LOG = logging.getLogger("innerloop.producer")
_LOG.addHandler(logging.NullHandler())
_REMEMBERED = 100
"""Of what librdkafka says is wrong."""

Headers = list[tuple[str, bytes]]
OnDelivery = Callable[[KafkaError | None, Message], None]


class Outbox:
    """A producer that is idempotent unless the settings say otherwise.

    Messages of one key keep their order. What becomes of a message is told to its `on_delivery`
    from within `poll` or `flush`, whoever calls them. It must not be used in a child process that
    was forked after it was made.

    Args:
        settings: brokers, wire format.
        on_failure: told of each message that was given up and had no `on_delivery` of its own.
        overrides: librdkafka properties that are not for the settings to say.

    Raises:
        SettingsError: librdkafka refuses a property, or the wire format is not fully configured.
    """

    def __init__(
        self,
        settings: Settings,
        on_failure: OnDelivery | None = None,
        **overrides: Any,  # noqa: ANN401 - librdkafka's own
    ) -> None:
        self.trouble = ""
        """What librdkafka last said of the connection; passing, for it goes on trying."""
        self.ended = ""
        """Why librdkafka takes no message any more, which nothing but another one mends; "" while
        it does."""
        self._errors: deque[KafkaError] = deque(maxlen=_REMEMBERED)
        self._settings = settings
        self._process = os.getpid()
        self._codec: Codec = build_codec(settings.wire)
        self._names = {topic: settings.kafka.topic(topic) for topic in Topic}
        config = settings.kafka.producer_config() | overrides | {"error_cb": self._on_error}
        if on_failure is not None:
            config["on_delivery"] = on_failure
        try:
            self._producer = Producer(config, logger=_LOG)
        except KafkaException as error:
            raise SettingsError(
                f"librdkafka refuses its configuration: {error.args[0].str()} [settings "
                "kafka.properties, kafka.producer_properties; -X KEY=VALUE]"
            ) from None

    @property
    def usable(self) -> bool:
        """Whether this process may use it; False in a forked child."""
        return os.getpid() == self._process

    def check(self, *topics: Topic, timeout: float = 10.0) -> dict[Topic, int]:
        """Make sure that a broker answers and knows these topics; return their partitions.

        Raises:
            RefusedError: it refuses credentials or certificates.
            BrokerError: it does not; the message says what would help.
        """
        brokers = self._settings.kafka.bootstrap_servers
        try:
            # All topics: to ask for one by name would create it where brokers are set to do so,
            # with a number of partitions that nobody chose.
            found = ask_for_topics(self._producer, timeout, self._errors).topics
        except KafkaException as error:
            if is_refusal(error.args[0]):
                refusal = told(error.args[0])
                raise RefusedError(f"the Kafka broker at {brokers} refuses: {refusal}") from None
            raise BrokerError(
                f"no Kafka broker answers at {brokers} (setting kafka.bootstrap_servers, "
                f"--bootstrap-servers) within {timeout:g} s: "
                f"{self.trouble or error.args[0].str()}. `innerloop broker embedded` or "
                "`innerloop broker kafka` starts one; those that want TLS need security.protocol "
                "in kafka.properties."
            ) from None
        finally:
            self._errors.clear()
        missing = [self._names[topic] for topic in topics if self._names[topic] not in found]
        if missing:
            raise BrokerError(
                f"the brokers at {brokers} have no topic {', '.join(missing)}; "
                "`innerloop topics create` creates what is missing. What is there, these "
                "credentials may not see: `innerloop topics acls` says who needs access to what"
            )
        return {topic: len(found[self._names[topic]].partitions) for topic in topics}

    def encode(self, topic: Topic, message: msgspec.Struct) -> bytes:
        """Return a message as the value of a record.

        With the wire format Avro the first call may ask the schema registry, and wait for it.

        Raises:
            CodecError: the message cannot be encoded.
        """
        return self._codec.encode(self._names[topic], message)

    def produce(
        self,
        topic: Topic,
        key: str,
        value: bytes,
        headers: Headers | None = None,
        on_delivery: OnDelivery | None = None,
    ) -> None:
        """Hand a record to librdkafka; never waits.

        Raises:
            QueueFullError: as many wait as may (librdkafka's `queue.buffering.max.messages` and
                `.kbytes`).
            BrokerError: librdkafka does not take it, or this is a forked child.
        """
        if not self.usable:
            raise BrokerError(
                "librdkafka does not survive a fork: make the tracker in the process that uses "
                "it, such as in the server's post-fork hook"
            )
        name = self._names[topic]
        options: dict[str, Any] = {} if headers is None else {"headers": headers}
        if on_delivery is not None:
            options["on_delivery"] = on_delivery
        try:
            # The record's timestamp stays the time of sending: one in the past, as a replayed
            # event's own, would be outside the topic's retention on arrival.
            self._producer.produce(name, value=value, key=key, **options)
        except BufferError:
            raise QueueFullError(
                "as many messages wait for the brokers at "
                f"{self._settings.kafka.bootstrap_servers} as may (librdkafka's "
                f"queue.buffering.max.messages and .kbytes){self.told_trouble()}"
            ) from None
        except KafkaException as error:
            raise BrokerError(f"topic {name} does not take a message: {error}") from error

    def poll(self, timeout: float = 0.0) -> int:
        """Let deliveries and failures be told, waiting for up to `timeout` seconds for one."""
        try:
            served: int = self._producer.poll(timeout)
        except KafkaException as error:
            self._on_end(error.args[0])  # fatal, so not told by callback; messages fail for it
            time.sleep(timeout)  # told anew at every call, it must not keep a poller busy
            return 0
        return served

    def flush(self, timeout: float) -> int:
        """Wait for acknowledgements; return what is left after `timeout` seconds, 0 for nothing.

        It is librdkafka's count, which holds more than messages.
        """
        try:
            waiting: int = self._producer.flush(timeout)
        except KafkaException as error:
            self._on_end(error.args[0])
            return len(self._producer)
        return waiting

    def told_trouble(self) -> str:
        """Return the trouble with the brokers as the end of a message; "" if there is none."""
        return f"; {self.trouble}" if self.trouble else ""

    def _on_error(self, error: KafkaError) -> None:
        # Passing trouble: librdkafka goes on trying. Told only if it ends in failure.
        self._errors.append(error)
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self.trouble = told(error)
        if error.fatal():
            self.ended = self.trouble

    def _on_end(self, error: KafkaError) -> None:
        self._on_error(error)
        self.ended = self.trouble
