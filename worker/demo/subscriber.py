"""The demo's own subscriber: reads events and recommendations as any other service would."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from schemas.clickstream import ClickstreamEvent
from schemas.codec import build_codec
from schemas.errors import BrokerError
from schemas.recommendations import Recommendation
from schemas.settings import KafkaSettings, WireSettings
from schemas.topics import Topic
from worker.broker.embedded import CONSUMER_PROPERTIES
from worker.demo.visitors import Visitors

_GROUP = "innerloop-demo-view"
_AT_ONCE = 2000
_TIMEOUT_S = 10.0
# With a single broker passing trouble is told by its own end, which the demo watches.
_PASSING = {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN}


class Subscriber:
    """Reads the topics `clickstream` and `recommendations` from their beginning.

    It joins no group and commits nothing, so it disturbs no one.

    Args:
        bootstrap_servers: where the broker is.
        visitors: takes in what is read.
    """

    def __init__(self, bootstrap_servers: str, visitors: Visitors) -> None:
        kafka = KafkaSettings(
            bootstrap_servers=bootstrap_servers, consumer_properties=CONSUMER_PROPERTIES
        )
        codec = build_codec(WireSettings())
        self._clickstream = kafka.topic(Topic.CLICKSTREAM)
        self._recommendations = kafka.topic(Topic.RECOMMENDATIONS)
        self._decode_event = codec.decoder(ClickstreamEvent)
        self._decode_answer = codec.decoder(Recommendation)
        self._visitors = visitors
        self._consumer = Consumer({**kafka.consumer_config(_GROUP), "log_level": 0})
        self._events_at: list[TopicPartition] = []

    def __enter__(self) -> Self:
        """Begin to read. Raises BrokerError if the broker does not tell its partitions."""
        self._events_at = self._partitions(self._clickstream)
        self._consumer.assign([*self._events_at, *self._partitions(self._recommendations)])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._consumer.close()

    def read(self, wait_s: float) -> None:
        """Take in what has come, waiting for up to `wait_s` seconds for more.

        Raises:
            BrokerError: the broker refuses to be read.
        """
        for message in self._consumer.consume(_AT_ONCE, wait_s):
            error, value = message.error(), message.value()
            if error is not None:
                if error.code() not in _PASSING:
                    raise BrokerError(f"the topics cannot be read: {error.str()}")
            elif value is not None and message.topic() == self._clickstream:
                self._visitors.add_event(self._decode_event(value))
            elif value is not None:
                self._visitors.add_answer(self._decode_answer(value))

    def sent(self) -> int:
        """Return how many events the broker has taken so far.

        Raises:
            BrokerError: it does not say.
        """
        try:
            return sum(
                self._consumer.get_watermark_offsets(at, timeout=_TIMEOUT_S)[1]
                for at in self._events_at
            )
        except KafkaException as error:
            raise BrokerError(f"the broker does not tell its offsets: {error}") from error

    def _partitions(self, topic: str) -> list[TopicPartition]:
        try:
            found = self._consumer.list_topics(topic, timeout=_TIMEOUT_S).topics[topic].partitions
        except KafkaException as error:
            raise BrokerError(f"the broker does not tell the partitions of {topic}") from error
        return [TopicPartition(topic, number, OFFSET_BEGINNING) for number in found]
