"""Follows the `trending` topic in a thread of its own: nothing else that is done waits for it."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from confluent_kafka import Message
from numpy.typing import NDArray

from schemas.codec import DECODE_ERRORS, Codec, decode_error
from schemas.errors import BrokerError
from schemas.insights import Trending
from schemas.settings import Settings
from schemas.topics import Topic
from worker.metrics import WorkerMetrics
from worker.topic_follower import TopicFollower

_LOG = logging.getLogger(__name__)

_AT_ONCE = 512
_WAIT_S = 0.5
_JOIN_S = 15.0
_LOOK_S = 30.0
"""How often to look for a topic that is absent."""
_WARNINGS_PER_READ = 3


@dataclass(frozen=True)
class Trends:
    """What is trending, at one point of time. Never changed: threads may share it."""

    surfaces: Mapping[str, tuple[list[str], NDArray[np.float64]]] = field(default_factory=dict)
    """By surface the items, each once, and their counts, positive."""
    revision: int = 0


class TrendingFollower:
    """Has what is trending now, from `start` to `close`.

    The topic may be absent, or come later. A record that cannot be used is counted, logged without
    its content and otherwise ignored.

    Args:
        settings: say where the topic is, and what is too old.
        codec: the wire format.
        metrics: of the prior.
        now_ms: the clock, milliseconds since the epoch.
    """

    def __init__(
        self,
        settings: Settings,
        codec: Codec,
        metrics: WorkerMetrics,
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._settings = settings
        self._decode = codec.decoder(Trending)
        self._metrics = metrics
        self._now_ms = now_ms
        self._most_ms = settings.worker.trending_prior_max_age_seconds * 1000
        self._told: dict[str, Trending] = {}
        self._shown: dict[str, Trending] = {}
        self._latest = Trends()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="trending", daemon=True)
        metrics.trending_age.set_function(self._age_s)

    def latest(self) -> Trends:
        """Return what is trending now."""
        return self._latest

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def close(self) -> None:
        """Stop following."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def take(self, messages: Iterable[Message]) -> None:
        """Take over records of the topic, and drop what is too old by now."""
        problems = []
        for message in messages:
            problem = self._take(message)
            if problem is not None:
                problems.append(f"offset {message.offset()}: {problem}")
        for problem in problems[:_WARNINGS_PER_READ]:
            _LOG.warning("a record of %s cannot be used: %s", Topic.TRENDING, problem)
        if len(problems) > _WARNINGS_PER_READ:
            _LOG.warning("%d more like it", len(problems) - _WARNINGS_PER_READ)
        self._metrics.trending_invalid.inc(len(problems))
        oldest = self._now_ms() - self._most_ms
        fresh = {s: told for s, told in self._told.items() if told.window_end >= oldest}
        if fresh != self._shown:
            self._shown = fresh
            self._latest = Trends(
                {surface: _counts(told) for surface, told in fresh.items()},
                self._latest.revision + 1,
            )
            items = {item for item_ids, _ in self._latest.surfaces.values() for item in item_ids}
            self._metrics.trending_items.set(len(items))

    def _take(self, message: Message) -> str | None:
        """Take a record over; return what is wrong with it, if anything is."""
        try:
            surface = (message.key() or b"").decode()
        except UnicodeDecodeError:
            return "its key is not UTF-8"
        value = message.value()
        if value is None:
            self._told.pop(surface, None)
            return None
        try:
            told = self._decode(value)
        except DECODE_ERRORS as error:
            return str(decode_error(error, value))
        if told.surface != surface:
            return "its key is not its surface"
        if not all(math.isfinite(item.score) for item in told.items):
            return "a score is not finite"
        self._told[surface] = told
        return None

    def _follow(self) -> None:
        absent = False
        while not self._over.is_set():
            try:
                self._follow_topic()
            except BrokerError as error:
                if not absent:
                    _LOG.info("nothing is known of what is trending: %s", error)
                absent = True
            self._over.wait(_LOOK_S)

    def _follow_topic(self) -> None:
        follower = TopicFollower(self._settings.kafka, Topic.TRENDING, since_ms=0)
        try:
            _LOG.info("following what is trending")
            while not self._over.is_set():
                self.take(follower.read(_AT_ONCE, _WAIT_S))
        finally:
            follower.close()

    def _age_s(self) -> float:
        told = list(self._told.values())
        if not told:
            return math.nan
        return (self._now_ms() - max(one.window_end for one in told)) / 1000


def _counts(told: Trending) -> tuple[list[str], NDArray[np.float64]]:
    best: dict[str, float] = {}
    for item in told.items:
        if item.score > 0:
            best[item.item_id] = max(item.score, best.get(item.item_id, 0.0))
    return list(best), np.fromiter(best.values(), np.float64, len(best))
