"""Follows the worker's partitions of `privacy`: whole at first, then ahead of each micro-batch."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
from confluent_kafka import Message
from numpy.typing import NDArray

from schemas.codec import Codec
from schemas.privacy import PrivacyRequest
from worker.byte_table import packed
from worker.event_keys import event_keys
from worker.metrics import UNKNOWN_ACTION, PrivacyResult, WorkerMetrics
from worker.privacy.barred import NOT_BARRED, Barred
from worker.privacy.records import (
    Lifted,
    PlacedRequest,
    log_unreadable,
    place_of,
    read_request,
)
from worker.topic_reader import PartitionReader

_LOG = logging.getLogger(__name__)

_CHUNK = 1000
_WAIT_S = 0.05
_REFRESH_S = 3600.0
"""How often an offset is committed anew. Brokers drop those of a topic that the group does not
subscribe to once they are `offsets.retention.minutes` old, a week by default."""


@dataclass
class _Partition:
    """What is known of one partition."""

    barred: Barred = field(default_factory=Barred)
    waiting: list[PlacedRequest] = field(default_factory=list)
    """Requests read and not carried out yet, in order."""
    next_offset: int | None = None
    """Of the first request that was not carried out, as committed; None until that was asked for,
    0 where there is none."""
    committed_at: float = -_REFRESH_S


class PrivacyFollower:
    """Knows whose events must not be used, and which requests are to be carried out.

    How far requests were carried out is committed in the worker's group, together with the offsets
    of `clickstream`. Whoever takes a partition over reads all its requests, as they say whose old
    events must not be used; but it carries out only those after that offset. So a user who came
    back is not erased again.

    It is a `worker.restore.take_over.Restorer`: nothing of a partition is processed before its
    requests are read.

    Args:
        reader: of the topic, in the worker's group; this object adds and removes its partitions.
        codec: the wire format.
        metrics: of the requests.
        committed: returns the offset that the group has committed for a partition, 0 if none, and
            None if it cannot be told yet.
    """

    def __init__(
        self,
        reader: PartitionReader,
        codec: Codec,
        metrics: WorkerMetrics,
        committed: Callable[[int], int | None],
    ) -> None:
        self._reader = reader
        self._committed = committed
        self._decode = codec.decoder(PrivacyRequest)
        self._metrics = metrics
        self._partitions: dict[int, _Partition] = {}
        self._begun: set[int] = set()

    @property
    def pending(self) -> bool:
        """Whether partitions are not read to their end yet."""
        return bool(self._begun)

    def begin(self, partitions: Collection[int]) -> None:
        """Read these partitions from their beginning, and on."""
        for partition in partitions:
            self._partitions[partition] = _Partition()
        self._begun |= set(partitions)
        self._reader.add(partitions)

    def abandon(self, partitions: Collection[int]) -> None:
        """Have no more to do with these: they are someone else's."""
        self._reader.remove(partitions)
        self._begun -= set(partitions)
        for partition in partitions:
            self._partitions.pop(partition, None)
        self._report()

    def step(self) -> list[int]:
        """Read on a little and return the partitions that are read to their end now.

        Raises:
            BrokerError: the topic cannot be read.
        """
        # Asked first, so that requests of long ago need not be kept until the end is reached.
        known = [partition for partition in sorted(self._begun) if self._knows_progress(partition)]
        self._read(_WAIT_S)
        done = [partition for partition in known if partition not in self._reader.behind]
        self._begun.difference_update(done)
        return done

    def follow(self) -> None:
        """Read what the client fetched in the background; asks nobody and waits for nothing.

        Raises:
            BrokerError: the topic cannot be read.
        """
        if self._partitions:
            self._read(0.0)

    def due(self, partitions: Iterable[int]) -> bool:
        """Tell whether `take` has something for any of these partitions."""
        now = time.monotonic()
        return any(self._has_news(partition, now) for partition in partitions)

    def take(self, partitions: Iterable[int]) -> tuple[list[PlacedRequest], dict[int, int]]:
        """Return the requests to be carried out now, and the offsets to be committed with them.

        Args:
            partitions: those whose users are all there.
        """
        now = time.monotonic()
        requests: list[PlacedRequest] = []
        offsets: dict[int, int] = {}
        for partition in partitions:
            if not self._has_news(partition, now):
                continue
            known = self._partitions[partition]
            if known.waiting:
                requests += known.waiting
                known.next_offset = known.waiting[-1].offset + 1
                known.waiting = []
            assert known.next_offset is not None
            offsets[partition] = known.next_offset
            known.committed_at = now
        return requests, offsets

    def until(self, user_ids: list[str], partitions: list[int]) -> NDArray[np.int64] | None:
        """Return up to which time users' events must not be used; see `Barred.until`.

        Args:
            user_ids: of n events.
            partitions: of these.

        Returns:
            (n,), or None if nobody of all these partitions is barred.
        """
        found = {p: self._partitions.get(p) for p in set(partitions)}
        concerned = [p for p, known in found.items() if known is not None and len(known.barred)]
        if not concerned:
            return None
        keys = event_keys(packed([user_id.encode() for user_id in user_ids]))
        of = np.array(partitions, np.int64)
        until = np.full(len(user_ids), NOT_BARRED, np.int64)
        for partition in concerned:
            here = of == partition
            until[here] = self._partitions[partition].barred.until(keys[here])
        return until

    def _has_news(self, partition: int, now: float) -> bool:
        known = self._partitions.get(partition)
        if known is None or partition in self._begun:
            return False
        return bool(known.waiting) or (
            bool(known.next_offset) and now - known.committed_at >= _REFRESH_S
        )

    def _knows_progress(self, partition: int) -> bool:
        """Ask how far requests were carried out, unless it is known; drop those that were."""
        known = self._partitions[partition]
        if known.next_offset is None:
            committed = self._committed(partition)
            if committed is None:
                return False
            known.next_offset = committed
            known.waiting = [one for one in known.waiting if one.offset >= committed]
        return True

    def _read(self, wait_s: float) -> None:
        problems = []
        messages = self._reader.read(_CHUNK, wait_s)
        for message in messages:
            problem = self._take_in(message)
            if problem is not None:
                problems.append(f"{place_of(message)}: {problem}")
        log_unreadable(_LOG, problems)
        if messages:
            self._report()

    def _take_in(self, message: Message) -> str | None:
        known = self._partitions[message.partition() or 0]
        found = read_request(message, self._decode)
        if isinstance(found, str):
            result = PrivacyResult.INVALID.value
            self._metrics.privacy_requests.labels(UNKNOWN_ACTION, result).inc()
            return found
        if isinstance(found, Lifted):
            known.barred.lift(found.user_id)
            return None
        known.barred.note(found.request.user_id, found.request.action, found.time_ms)
        if known.next_offset is None or found.offset >= known.next_offset:
            known.waiting.append(found)
        return None

    def _report(self) -> None:
        self._metrics.privacy_users_barred.set(
            sum(len(known.barred) for known in self._partitions.values())
        )
