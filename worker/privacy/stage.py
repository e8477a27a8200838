"""Stage privacy: requests carried out ahead of a micro-batch, and events that must not be used."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from typing import Protocol

import numpy as np

from schemas.codec import Codec
from schemas.privacy import PrivacyAction, PrivacyAudit
from schemas.settings import KafkaSettings
from schemas.topics import Topic
from worker.metrics import Outcome, PrivacyResult, WorkerMetrics
from worker.privacy.admission import is_barred
from worker.privacy.barred import FOR_EVER
from worker.privacy.carried_out import CarriedOut
from worker.privacy.follower import PrivacyFollower
from worker.privacy.records import PlacedRequest, note_of
from worker.stages.decode import EventColumns, pick
from worker.stages.publish import OutgoingRecord

_LOG = logging.getLogger(__name__)


class Eraser(Protocol):
    """Who holds users: `worker.rollout.arms.Arms`."""

    def erase(self, user_id: str) -> bool:
        """Forget a user wherever there is something of it; return whether there was."""


class PrivacyStage:
    """Carries requests out, and tells which events may be used.

    Args:
        follower: of the requests.
        eraser: forgets users.
        codec: the wire format.
        kafka: names the topics.
        metrics: of the requests.
        ready: returns the partitions whose users are all there.
        worker: returns what audit records call this worker.
        audited: whether there is a topic for audit records.
        now_ms: the clock, milliseconds since the epoch.
    """

    def __init__(
        self,
        follower: PrivacyFollower,
        eraser: Eraser,
        codec: Codec,
        kafka: KafkaSettings,
        metrics: WorkerMetrics,
        *,
        ready: Callable[[], Collection[int]],
        worker: Callable[[], str],
        audited: bool,
        now_ms: Callable[[], int],
    ) -> None:
        self._follower = follower
        self._eraser = eraser
        self._codec = codec
        self._kafka = kafka
        self._metrics = metrics
        self._ready = ready
        self._worker = worker
        self._audited = audited
        self._now_ms = now_ms

    @property
    def due(self) -> bool:
        """Whether there is something for `carry_out` to do."""
        return self._follower.due(self._ready())

    def carry_out(self) -> CarriedOut:
        """Carry out the requests that were read, in memory and in the store.

        Consent that is withdrawn removes what is kept as an erasure does.

        Raises:
            StateStoreError: the store cannot be written.
            CodecError: an audit record cannot be encoded.
        """
        requests, next_offsets = self._follower.take(self._ready())
        done = CarriedOut(next_offsets=next_offsets)
        worker = self._worker() if requests else ""
        for placed in requests:
            removed, tombstones = False, []
            if placed.request.action is not PrivacyAction.GRANT_CONSENT:
                removed = self._eraser.erase(placed.request.user_id)
                tombstones = self._tombstones(placed)
            done.tombstones.extend(tombstones)
            self._note(placed, done, removed, len(tombstones), worker)
        if requests:
            _LOG.info("%d privacy requests carried out", len(requests))
        return done

    def admit(self, events: EventColumns) -> EventColumns:
        """Return the events that may be used, and count the others; see `is_barred`."""
        until = self._follower.until(events.user_ids, events.partitions)
        if until is None:
            return events
        barred = is_barred(events, until)
        if not barred.any():
            return events
        withdrawn = int((until[barred] == FOR_EVER).sum())
        self._metrics.records.labels(Outcome.NO_CONSENT.value).inc(withdrawn)
        self._metrics.records.labels(Outcome.ERASED.value).inc(int(barred.sum()) - withdrawn)
        return pick(events, np.flatnonzero(~barred))

    def _tombstones(self, placed: PlacedRequest) -> list[OutgoingRecord]:
        # Also for users who are not known: a state that cannot be read is in the changelog only.
        key = placed.request.user_id.encode()
        return [
            OutgoingRecord(self._kafka.topic(topic), placed.partition, key, None, [*headers])
            for topic, headers in (
                (Topic.USER_STATE, ()),
                (Topic.RECOMMENDATIONS, (note_of(placed),)),  # for others who keep lists
            )
        ]

    def _note(
        self, placed: PlacedRequest, done: CarriedOut, removed: bool, tombstones: int, worker: str
    ) -> None:
        request, now = placed.request, self._now_ms()
        action = request.action.value
        self._metrics.privacy_requests.labels(action, PrivacyResult.DONE.value).inc()
        self._metrics.privacy_seconds.observe(max(0, now - request.time) / 1000.0)
        if not self._audited:
            return
        record = PrivacyAudit(
            request_id=request.request_id,
            action=request.action,
            requested_at=request.time,
            done_at=now,
            partition=placed.partition,
            offset=placed.offset,
            states_removed=int(removed),
            tombstones=tombstones,
            worker=worker,
        )
        topic = self._kafka.topic(Topic.PRIVACY_AUDIT)
        value = self._codec.encode(topic, record)
        key = request.request_id.encode()
        done.audit.append(OutgoingRecord(topic, placed.partition, key, value))
