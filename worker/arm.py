"""One model at work: the users it has adapted to, and what it answers their events with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.codec import Codec
from schemas.settings import Settings
from schemas.topics import Topic
from worker.catalogue import Catalogue
from worker.coalescing.asked import Owing
from worker.item_sharing.learning import Learning
from worker.metrics import WorkerMetrics
from worker.model.interface import AdaptationModel
from worker.outputs import RecommendationWriter
from worker.pipeline import Answers, Pipeline
from worker.policy.policy import Policy
from worker.restore.revival import Revival
from worker.stages.decode import EventColumns
from worker.stages.publish import RecordColumns
from worker.state.arena import UserArena
from worker.state.records import StateRecords
from worker.state.sealing import PLAIN, Sealing
from worker.state.store import StateStore
from worker.state.users import Users
from worker.trending.follower import Trends
from worker.trending.prior import TrendingPrior


@dataclass(frozen=True)
class ArmParts:
    """What an arm is made of, besides a model and its catalogue."""

    settings: Settings
    codec: Codec
    metrics: WorkerMetrics
    store: StateStore
    """Of the users who are not in the arena."""
    item_learning: Learning | None
    """Of the item memory; None if there is none."""
    now_ms: Callable[[], int]
    """The clock, milliseconds since the epoch."""
    trends: Callable[[], Trends] | None = None
    """Gives what is trending now; None goes without."""
    sealing: Sealing = PLAIN
    """How users are written to disk."""


class Arm:
    """A model, its catalogue, its arena of users, and the stages from fold to publish.

    Args:
        model: adapts and scores.
        catalogue: with the model's vectors.
        parts: the rest.
        variant: label on the recommendations.
    """

    def __init__(
        self, model: AdaptationModel, catalogue: Catalogue, parts: ArmParts, variant: str
    ) -> None:
        self.model = model
        self.catalogue = catalogue
        self._parts = parts
        worker, metrics = parts.settings.worker, parts.metrics
        arena = self.arena = UserArena(
            model, catalogue, recent_events=worker.recent_events, top_k=worker.top_k
        )
        self.state_records = StateRecords(arena, model.version)
        self.users = Users(
            arena,
            parts.store,
            Revival(model, catalogue, arena, metrics),
            metrics,
            records=self.state_records,
            most_resident=worker.resident_users,
            ttl_ms=worker.user_ttl_ms,
        )
        self.pipeline = Pipeline(
            model,
            catalogue,
            arena,
            metrics,
            worker,
            item_learning=parts.item_learning,
            users=self.users,
            policy=Policy.of(parts.settings.policy, catalogue, worker.top_k),
            prior=self._prior(),
        )
        self.call(variant)

    def _prior(self) -> TrendingPrior | None:
        if self._parts.trends is None:
            return None
        worker = self._parts.settings.worker
        return TrendingPrior(
            self._parts.trends,
            self.catalogue,
            events=worker.trending_prior_events,
            strength=worker.trending_prior_strength,
        )

    def call(self, variant: str) -> None:
        """Put another label on the recommendations from now on."""
        self.variant = variant
        kafka = self._parts.settings.kafka
        self._state_topic = kafka.topic(Topic.USER_STATE)
        self.writer = RecommendationWriter(
            codec=self._parts.codec,
            topic=kafka.topic(Topic.RECOMMENDATIONS),
            catalogue=self.catalogue,
            model_version=self.model.version,
            variant=variant,
            now_ms=self._parts.now_ms,
        )

    def process(self, events: EventColumns, owing: Owing | None = None) -> ArmAnswers:
        """Apply events to their users and rank for them; see `Pipeline.process`."""
        return ArmAnswers(self, self.pipeline.process(events, owing))

    def warm_up(self) -> None:
        """Compile what a micro-batch needs; to be called once the catalogue is read."""
        self.pipeline.warm_up()
        self.writer.warm_up()

    def forget_idle(self, events: int, held: Mapping[int, int] | None = None) -> RecordColumns:
        """Forget users who were idle for too long; return the records that erase their states.

        Args:
            events: of the micro-batch; few users are looked at after a small one.
            held: see `worker.state.users.Users.forget_idle`.
        """
        forgotten = self.pipeline.forget_idle(events, held)
        return RecordColumns(
            self._state_topic,
            [partition for _, partition in forgotten],
            [user_id.encode() for user_id, _ in forgotten],
            [None] * len(forgotten),
        )

    def states(self, slots: NDArray[np.int64]) -> RecordColumns:
        """Return the records of the users in these slots, (n,), as they are now."""
        return RecordColumns(
            self._state_topic,
            self.arena.columns.partition[slots].tolist(),
            [self.arena.user_id(slot).encode() for slot in slots.tolist()],
            self.state_records.encode(slots),
        )


@dataclass(frozen=True)
class ArmAnswers:
    """What an arm has to say to a micro-batch; see `worker.micro_batch.Answered`."""

    arm: Arm
    answers: Answers

    @property
    def applied(self) -> int:
        """How many events were applied."""
        return len(self.answers.batch)

    def record_times(self) -> NDArray[np.int64]:
        """Return the timestamps of the records of the events that are answered."""
        return self.answers.record_times()

    def recommendations(self) -> RecordColumns:
        """Return a record for each list."""
        return self.arm.writer.records(self.answers)

    def states(self) -> RecordColumns:
        """Return the states of the users answered."""
        return self.arm.states(self.answers.changed_slots())
