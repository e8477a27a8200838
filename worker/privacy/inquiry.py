"""What topics hold about a user, and what was done about a request."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, cast

import msgspec
from confluent_kafka import Message

from schemas.clickstream import ClickstreamEvent
from schemas.codec import DECODE_ERRORS, build_codec, decode_state
from schemas.insights import RecommendationOutcome
from schemas.privacy import AUDITED_BY_WORKER, PrivacyAudit, PrivacyRequest
from schemas.pseudonyms import all_pseudonyms
from schemas.recommendations import Recommendation
from schemas.settings import Settings
from schemas.topics import InsightsTopic, Topic
from worker.clients import make_reader
from worker.insights.user_record import decode_user
from worker.kafka_connection import REACH_TIMEOUT_S, Cluster, connect, missing_topic
from worker.stages.decode import header_list, position, record_time
from worker.topic_span import TopicSpan

_CHUNK = 1000
_WAIT_S = 0.2
_MESSAGES: dict[Topic, type[msgspec.Struct]] = {
    Topic.CLICKSTREAM: ClickstreamEvent,
    Topic.RECOMMENDATIONS: Recommendation,
    Topic.OUTCOMES: RecommendationOutcome,
    Topic.PRIVACY: PrivacyRequest,
}
_COMPACTED: tuple[Topic | InsightsTopic, ...] = (Topic.USER_STATE, InsightsTopic.USERS)
Found = dict[str, Any]


class AuditTrail:
    """The records of `privacy-audit`.

    Args:
        settings: all of them.

    Raises:
        BrokerError: the brokers cannot be reached, or the topic does not exist.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._decode = build_codec(settings.wire).decoder(PrivacyAudit)
        cluster = connect(settings.kafka)
        name = settings.kafka.topic(Topic.PRIVACY_AUDIT)
        if name not in cluster.replicas:
            raise missing_topic(name)
        self._cluster = cluster
        self._reader = make_reader(settings, Topic.PRIVACY_AUDIT, wait_ms=100)
        self._ends = {
            n: self._reader.end_offset(name, n, REACH_TIMEOUT_S)
            for n in range(len(cluster.replicas[name]))
        }

    def wait(self, request_id: str, number: int, timeout_s: float) -> list[PrivacyAudit]:
        """Return so many records of workers, of a request, that come after this object was made.

        Insights, which may not be running, write theirs later; `of` returns those, too. Fewer are
        returned when the time is over.

        Raises:
            BrokerError: the topic cannot be read.
        """
        self._reader.add(self._ends, self._ends)
        deadline = time.monotonic() + timeout_s
        found: dict[tuple[int, int], PrivacyAudit] = {}
        while len(found) < number and time.monotonic() < deadline:
            for record in self._records(self._reader.read(_CHUNK, _WAIT_S), request_id):
                if record.part == AUDITED_BY_WORKER:
                    found[record.partition, record.offset] = record
        return list(found.values())

    def of(self, request_id: str) -> list[PrivacyAudit]:
        """Return all records of a request, oldest first.

        Raises:
            BrokerError: the topic cannot be read.
        """
        found: list[PrivacyAudit] = []
        _read_whole(
            self._settings,
            Topic.PRIVACY_AUDIT,
            self._cluster,
            lambda messages: found.extend(self._records(messages, request_id)),
        )
        return sorted(found, key=lambda record: record.done_at)

    def close(self) -> None:
        """Close the client."""
        self._reader.close()

    def _records(self, messages: list[Message], request_id: str) -> list[PrivacyAudit]:
        key = request_id.encode()
        return [self._decode(m.value() or b"") for m in messages if m.key() == key]


def held_about(
    settings: Settings, user_id: str, on_topic: Callable[[str], None] = lambda _: None
) -> Found:
    """Return what topics hold about a user, under every id that the user may have had.

    All topics with users' records are read whole. What workers hold in memory and in their folders
    is what `user-state` holds.

    Args:
        settings: all of them.
        user_id: the user's own id, also where ids are hashed.
        on_topic: told of each topic that is read.

    Returns:
        A JSON object: the ids, and by topic the records; of compacted ones the latest.

    Raises:
        BrokerError: the brokers cannot be reached, or a topic cannot be read.
    """
    ids = all_pseudonyms(settings.privacy, user_id)
    keys = {one.encode() for one in ids}
    cluster = connect(settings.kafka)
    topics: dict[str, list[Found]] = {}
    for topic in (
        Topic.CLICKSTREAM,
        Topic.RECOMMENDATIONS,
        Topic.USER_STATE,
        Topic.OUTCOMES,
        Topic.DEAD_LETTERS,
        Topic.PRIVACY,
        InsightsTopic.USERS,
    ):
        name = f"{settings.kafka.topic_prefix}{topic}"
        if name in cluster.replicas:
            on_topic(name)
            topics[topic.value] = _held(settings, topic, cluster, keys)
    return {"user_id": user_id, "ids": ids, "topics": topics}


def _held(
    settings: Settings, topic: Topic | InsightsTopic, cluster: Cluster, keys: Collection[bytes]
) -> list[Found]:
    shown = _shown_by(settings, topic)
    found: list[tuple[bytes, Message]] = []

    def take(messages: list[Message]) -> None:
        for message in messages:
            key, value = message.key() or b"", message.value() or b""
            # The key of a dead letter may be what is wrong with it.
            within = topic is Topic.DEAD_LETTERS and any(one in value for one in keys)
            if key in keys or within:
                found.append((key, message))

    _read_whole(settings, topic, cluster, take)
    if topic in _COMPACTED:
        found = list(dict(found).items())
    return [
        _described(message, shown)
        for _, message in found
        if topic not in _COMPACTED or message.value() is not None
    ]


def _described(message: Message, shown: Callable[[bytes], Any]) -> Found:
    partition, offset = position(message)
    value = message.value()
    about: Found = {
        "partition": partition,
        "offset": offset,
        "timestamp": record_time(message),
        "id": (message.key() or b"").decode(errors="replace"),
        "value": None if value is None else shown(value),
    }
    headers = {name: _text(content or b"") for name, content in header_list(message)}
    return about | ({"headers": headers} if headers else {})


def _shown_by(settings: Settings, topic: Topic | InsightsTopic) -> Callable[[bytes], Any]:
    """Return what makes JSON of a topic's values; what cannot be decoded is shown as it is."""
    decode: Callable[[bytes], Any]
    if topic is Topic.USER_STATE:
        decode = decode_state
    elif topic is InsightsTopic.USERS:
        decode = decode_user
    elif isinstance(topic, Topic) and topic in _MESSAGES:
        decode = build_codec(settings.wire).decoder(_MESSAGES[topic])
    else:
        return _text

    def shown(value: bytes) -> Any:  # noqa: ANN401 - whatever JSON has
        try:
            return _with_names(decode(value))
        except (*DECODE_ERRORS, zlib.error):
            return _text(value)

    return shown


def _with_names(value: Any) -> Any:  # noqa: ANN401 - whatever a message holds
    """Return a message as JSON has it; those stored as arrays get their fields' names."""
    if isinstance(value, msgspec.Struct):
        return {name: _with_names(getattr(value, name)) for name in type(value).__struct_fields__}
    if isinstance(value, Mapping):
        return {str(name): _with_names(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_with_names(one) for one in value]
    return msgspec.to_builtins(value)  # bytes in base64


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()


def _read_whole(
    settings: Settings,
    topic: Topic | InsightsTopic,
    cluster: Cluster,
    take: Callable[[list[Message]], None],
) -> None:
    # A reader wants no more of a topic than its name.
    span = TopicSpan(settings, cast("Topic", topic), cluster.replicas)
    try:
        span.read(take, lambda *_: None, lambda _: None)
    finally:
        span.close()
