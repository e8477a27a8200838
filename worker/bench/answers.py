"""Reads recommendations as they come, and tells for each event when it was answered."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import msgspec
import numpy as np
from confluent_kafka import KafkaException, TopicPartition
from numpy.typing import NDArray

from schemas.topics import Topic
from worker.bench.stand import Stand

_POLL_S = 0.05


class _Answer(msgspec.Struct):
    """As much of a recommendation as is needed here."""

    user_id: str
    caused_by: str


class Waiting:
    """Events that wait for an answer.

    An event is answered by the first recommendation of its user that was caused by it or by a later
    event of the user: a worker may answer several at once.

    Args:
        event_ids: in the order of their being sent.
        user_ids: of the same events.
    """

    def __init__(self, event_ids: Sequence[str], user_ids: Sequence[str]) -> None:
        self.answered_at: NDArray[np.float64] = np.full(len(event_ids), np.nan)
        """On the monotonic clock, by event; NaN where there is no answer yet."""
        self.missing = len(event_ids)
        self._number = {event_id: n for n, event_id in enumerate(event_ids)}
        self._of_user: dict[str, deque[int]] = defaultdict(deque)
        for number, user_id in enumerate(user_ids):
            self._of_user[user_id].append(number)

    def answer(self, user_id: str, caused_by: str, now: float) -> None:
        """Note an answer; those to other events, and repeated ones, change nothing."""
        number = self._number.get(caused_by)
        if number is None:
            return
        waiting = self._of_user[user_id]
        while waiting and waiting[0] <= number:
            self.answered_at[waiting.popleft()] = now
            self.missing -= 1


class Subscriber:
    """Reads `recommendations` from its end on; a context manager.

    Args:
        stand: of the topic.
    """

    def __init__(self, stand: Stand) -> None:
        name = stand.settings.kafka.topic(Topic.RECOMMENDATIONS)
        self._consumer = stand.consumer()
        ends = stand.ends(Topic.RECOMMENDATIONS)
        self._consumer.assign([TopicPartition(name, number, at) for number, at in ends.items()])
        self._decode = msgspec.json.Decoder(_Answer).decode

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._consumer.close()

    def read(self, waiting: Waiting, until: float, check: Callable[[], None]) -> None:
        """Read until all events are answered, or until a moment on the monotonic clock.

        Args:
            waiting: takes the answers.
            until: when to give up.
            check: called now and then; raises to end it.
        """
        checked = time.monotonic()
        while waiting.missing:
            # One by one: a call for many would wait for as many, and its wait be measured.
            message = self._consumer.poll(_POLL_S)
            now = time.monotonic()
            if now > until:
                return
            if now - checked > 1.0:
                check()
                checked = now
            if message is None:
                continue
            error = message.error()
            if error is not None:
                raise KafkaException(error)
            answer = self._decode(message.value() or b"")
            waiting.answer(answer.user_id, answer.caused_by, now)
