"""Reads recommendations, writes them into Redis, then commits: at least once, in order."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from schemas.codec import DECODE_ERRORS, build_codec, decode_error
from schemas.errors import BrokerError
from schemas.kafka_refusals import is_refusal, told
from schemas.recommendations import Recommendation
from schemas.settings import Settings
from schemas.topics import Topic
from worker.client_errors import ErrorLog
from worker.kafka_connection import connect, missing_topic, property_error
from worker.subscriber.redis_sink.metrics import Outcome, SinkMetrics
from worker.subscriber.redis_sink.writer import RedisAwayError, RedisWriter, Write

_LOG = logging.getLogger(__name__)
_POLL_S = 0.2
_FIRST_BACKOFF_S = 0.1


class RedisSink:
    """A member of the sink's consumer group.

    Offsets are committed after their records are in Redis. While Redis is away nothing is read and
    nothing committed, and the member stays in its group.

    Args:
        settings: brokers, wire format, those of the section `sink`.
        metrics: counted there.

    Raises:
        BrokerError: the brokers do not answer, or do not have the topic.
        SettingsError: a setting is wrong.
    """

    def __init__(self, settings: Settings, metrics: SinkMetrics) -> None:
        self._settings = settings.sink
        self._metrics = metrics
        self._decode = build_codec(settings.wire).decoder(Recommendation)
        self._topic = settings.kafka.topic(Topic.RECOMMENDATIONS)
        if self._topic not in connect(settings.kafka).replicas:
            raise missing_topic(self._topic)
        self._writer = RedisWriter(settings.sink)
        self._stop = threading.Event()
        self._held: list[Message] = []
        start = {"auto.offset.reset": settings.sink.start}
        try:
            log = logging.getLogger("librdkafka")
            config = settings.kafka.consumer_config(settings.sink.group_id, **start)
            self._consumer = Consumer({"error_cb": ErrorLog(log), **config}, logger=log)
        except KafkaException as error:
            raise property_error(error) from None

    def stop(self) -> None:
        """End `run` soon; may be called from a signal's handler."""
        self._stop.set()

    def run(self) -> None:
        """Copy until `stop`.

        Raises:
            BrokerError: the topic cannot be read.
            SinkError: Redis refuses.
            RegistryError: the schema registry cannot be asked.
        """
        self._consumer.subscribe([self._topic])
        try:
            while not self._stop.is_set():
                messages = self._read()
                if messages and self._deliver(self._latest(messages)):
                    self._commit(messages)
        finally:
            self._consumer.close()
            self._writer.close()

    def _read(self) -> list[Message]:
        found, self._held = self._held, []
        if not found:
            # `consume` alone would wait for all that it may return.
            first = self._consumer.poll(_POLL_S)
            if first is None:
                return []
            found = [first, *self._consumer.consume(self._settings.batch_records - 1, 0)]
        return [message for message in found if self._is_record(message)]

    def _is_record(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return True
        if error.fatal() or is_refusal(error):
            raise BrokerError(f"{self._topic} cannot be read: {told(error)}")
        _LOG.warning("reading %s: %s", self._topic, error.str())
        return False

    def _latest(self, messages: list[Message]) -> list[Write]:
        writes: dict[str, Write] = {}
        for message in messages:
            write = self._write_of(message)
            if write is None:
                self._metrics.records[Outcome.UNREADABLE].inc()
                continue
            if write.user_id in writes:
                self._metrics.records[Outcome.SUPERSEDED].inc()
            writes[write.user_id] = write
        return list(writes.values())

    def _write_of(self, message: Message) -> Write | None:
        value, key = message.value(), message.key()
        partition, offset = message.partition() or 0, message.offset() or 0
        if value is None:
            user = key.decode("utf-8", "replace") if isinstance(key, bytes) else key
            return Write(user, partition, offset, None) if user else None
        raw = value if isinstance(value, bytes) else value.encode()
        try:
            found = self._decode(raw)
        except DECODE_ERRORS as error:
            _LOG.warning("a record is no recommendation: %s", decode_error(error, raw))
            return None
        return Write(found.user_id, partition, offset, found)

    def _deliver(self, writes: list[Write]) -> bool:
        """Write, again and again while Redis is away; return False if told to stop before."""
        backoff = _FIRST_BACKOFF_S
        while not self._stop.is_set():
            try:
                done = self._writer.write(writes)
            except RedisAwayError as error:
                self._metrics.failed_writes.inc()
                _LOG.warning("%s; trying again in %.1f s", error, backoff)
                self._pause(backoff)
                backoff = min(2 * backoff, self._settings.longest_backoff_seconds)
                continue
            for write, newer in zip(writes, done, strict=True):
                self._note(write, newer)
            return True
        return False

    def _note(self, write: Write, newer: bool) -> None:
        if write.recommendation is None:
            self._metrics.records[Outcome.REMOVED].inc()
        elif newer:
            self._metrics.records[Outcome.WRITTEN].inc()
            seconds = time.time() - write.recommendation.event_time / 1000
            self._metrics.event_to_write.observe(max(0.0, seconds))
        else:
            self._metrics.records[Outcome.STALE].inc()

    def _pause(self, seconds: float) -> None:
        """Wait, and stay a member of the group, which takes polling."""
        deadline = time.monotonic() + seconds
        paused = self._consumer.assignment()
        self._consumer.pause(paused)
        while (left := deadline - time.monotonic()) > 0 and not self._stop.is_set():
            # Of partitions that were assigned meanwhile, something may come.
            message = self._consumer.poll(min(left, _POLL_S))
            if message is not None:
                self._held.append(message)
                self._consumer.pause(self._consumer.assignment())
        self._consumer.resume(self._consumer.assignment())

    def _commit(self, messages: list[Message]) -> None:
        mine = {each.partition for each in self._consumer.assignment()}
        ends = {message.partition(): (message.offset() or 0) + 1 for message in messages}
        offsets = [
            TopicPartition(self._topic, number or 0, end)
            for number, end in ends.items()
            if number in mine
        ]
        if not offsets:
            return
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            # They are read again, by this member or another, and found to be there already.
            _LOG.warning("offsets are not committed: %s", error.args[0].str())


def stopping(sink: RedisSink) -> Callable[[int, object], None]:
    """Return a signal's handler that stops the sink."""

    def handle(_number: int, _frame: object) -> None:
        sink.stop()

    return handle
