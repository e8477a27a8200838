"""Which events may be used, by what users asked for."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping

import numpy as np
from confluent_kafka import Message
from numpy.typing import NDArray

from schemas.codec import Codec
from schemas.privacy import PrivacyRequest
from schemas.settings import Settings
from schemas.topics import Topic
from worker.privacy.barred import NOT_BARRED, Barred
from worker.privacy.records import Lifted, log_unreadable, place_of, read_request
from worker.stages.decode import NO_TIMESTAMP, EventColumns, pick
from worker.topic_span import TopicSpan

_LOG = logging.getLogger(__name__)


def is_barred(events: EventColumns, until: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which events must not be used, (n,).

    An event is not used if it happened, or was published, at a time up to which its user's are
    barred. By its own time an old one that is published late, or again, stays barred; by its
    record's one that claims to be of the future.

    Args:
        events: n of them.
        until: that time of each event's user, (n,).
    """
    times = np.array(events.times, np.int64)
    published = np.array(events.record_times, np.int64)
    happened = np.where(published == NO_TIMESTAMP, times, np.minimum(times, published))
    barred: NDArray[np.bool_] = happened <= until
    return barred


class RequestsSoFar:
    """All requests of the topic `privacy`, read once, for who goes through old events.

    Where there is no such topic, nobody has asked for anything.

    Args:
        settings: all of them.
        codec: the wire format.
        replicas: the topics that the brokers have, as of `worker.kafka_connection.connect`.
        on_phase: see `TopicSpan.read`.
        on_step: likewise.

    Raises:
        BrokerError: the topic cannot be read.
    """

    def __init__(
        self,
        settings: Settings,
        codec: Codec,
        replicas: Mapping[str, list[int]],
        on_phase: Callable[[str, int], None],
        on_step: Callable[[int], None],
    ) -> None:
        self._decode = codec.decoder(PrivacyRequest)
        self._barred: dict[int, Barred] = defaultdict(Barred)
        name = settings.kafka.topic(Topic.PRIVACY)
        if name not in replicas:
            _LOG.warning("topic %s does not exist, or may not be read: nobody is left out", name)
            return
        span = TopicSpan(settings, Topic.PRIVACY, replicas)
        try:
            span.read(self._take, on_phase, on_step)
        finally:
            span.close()

    def admit(self, events: EventColumns) -> tuple[EventColumns, int]:
        """Return the events that may be used, and how many of them may not."""
        if not self._barred:
            return events, 0
        places = zip(events.user_ids, events.partitions, strict=True)
        until = [
            self._barred[partition].until_of(user) if partition in self._barred else NOT_BARRED
            for user, partition in places
        ]
        barred = is_barred(events, np.array(until, np.int64))
        return pick(events, np.flatnonzero(~barred)), int(barred.sum())

    def _take(self, messages: list[Message]) -> None:
        problems = []
        for message in messages:
            barred = self._barred[message.partition() or 0]
            found = read_request(message, self._decode)
            if isinstance(found, str):
                problems.append(f"{place_of(message)}: {found}")
            elif isinstance(found, Lifted):
                barred.lift(found.user_id)
            else:
                barred.note(found.request.user_id, found.request.action, found.time_ms)
        log_unreadable(_LOG, problems)
