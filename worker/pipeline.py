"""What happens to a micro-batch between decoding and publishing: fold, encode, adapt, rank.

No Kafka in here: events go in as columns, answers come out as columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.clickstream import EventType
from schemas.settings import WorkerSettings
from worker.addressed import Addressed
from worker.catalogue import Catalogue
from worker.coalescing.asked import Asked, Owing, asked
from worker.item_memory.memory import ItemMemory
from worker.item_memory.transitions import OwnTransitions
from worker.item_sharing.learning import Learning
from worker.metrics import NoStep, Stage, WorkerMetrics
from worker.model.interface import AdaptationModel
from worker.policy.batch import BatchPolicy
from worker.policy.policy import Policy
from worker.prequential import LivePrequential
from worker.stages.adapt import Adapted, Steps, adapt
from worker.stages.decode import EventColumns
from worker.stages.encode import encode_targets
from worker.stages.fold import FoldedBatch, fold
from worker.stages.rank import MemoryStep, Ranked, rank
from worker.state.arena import UserArena
from worker.state.records import StateRecords
from worker.state.users import Users, all_resident
from worker.trending.batch import BatchPrior
from worker.trending.prior import TrendingPrior

_EVENTS_PER_LOOK = 8
"""After so many events one user of the arena, and one of the store, is looked at for being idle."""


@dataclass(frozen=True)
class Answers:
    """A micro-batch after ranking."""

    events: EventColumns
    """All events, also those not applied: `batch.source` says which."""
    batch: FoldedBatch
    adapted: Adapted
    ranked: Ranked
    asked: Asked | None = None
    """The lists there are; None for one an event applied, in order."""

    def addressed(self) -> Addressed:
        """Return what the lists answer."""
        if self.asked is not None:
            return self.asked.addressed
        return Addressed.each(self.events, self.batch, self.adapted)

    def record_times(self) -> NDArray[np.int64]:
        """Return the timestamps of the records of the events that are answered."""
        if self.asked is not None:
            return self.asked.record_times
        return np.asarray(self.events.record_times, np.int64)[self.batch.source]

    def changed_slots(self) -> NDArray[np.int64]:
        """Return the slots of the users answered, each once, which are all with an applied event.

        But where answers are put off: a user who is owed one is as yet unchanged to all others.
        """
        if self.asked is not None:
            return self.asked.slots
        return self.batch.slots[self.batch.last_of_user()]


class Pipeline:
    """Applies events to users and ranks for them.

    Args:
        model: adapts and scores.
        catalogue: what can be recommended.
        arena: the users.
        metrics: of the stages and of the outcome.
        settings: of the worker.
        item_learning: of the item memory; None if there is none.
        users: bring users into the arena; None admits whoever comes, for good.
        policy: what lists are made of beyond the scores; None goes by them alone.
        prior: what is trending, for users of whom little is known; None goes without.
    """

    def __init__(
        self,
        model: AdaptationModel,
        catalogue: Catalogue,
        arena: UserArena,
        metrics: WorkerMetrics,
        settings: WorkerSettings,
        *,
        item_learning: Learning | None = None,
        users: Users | None = None,
        policy: Policy | None = None,
        prior: TrendingPrior | None = None,
    ) -> None:
        self._model = model
        self._catalogue = catalogue
        self._arena = arena
        self._users = users or all_resident(arena, metrics)
        self._metrics = metrics
        self._settings = settings
        self._top_k = settings.top_k
        self._item_learning = item_learning
        self._policy = policy
        self._prior = prior
        self._prequential = LivePrequential(
            model,
            catalogue,
            arena,
            metrics,
            settings.top_k,
            memory=self._memory,
            policy=policy,
            prior=prior,
        )

    def warm_up(self) -> None:
        """Compile what a micro-batch goes through; to be called once the catalogue is read."""
        self._prequential.rank_without_events()
        arena = UserArena(
            self._model,
            self._catalogue,
            recent_events=self._arena.recent_events,
            top_k=self._top_k,
            capacity=1,
        )
        twin = Pipeline(
            self._model,
            self._catalogue,
            arena,
            WorkerMetrics(),
            self._settings,
            policy=self._policy,
            prior=self._prior,
        )
        answers = twin.process(_made_up_event(self._catalogue.item_ids[:1]))
        StateRecords(arena, self._model.version).encode(answers.changed_slots())

    def process(self, events: EventColumns, owing: Owing | None = None) -> Answers:
        """Apply the events in order and answer them.

        Args:
            events: of the micro-batch.
            owing: who may be answered now, and who is owed an answer; None answers each event that
                was applied.
        """
        metrics, catalogue, model = self._metrics, self._catalogue, self._model
        with metrics.time(Stage.FOLD):
            types = self._policy is not None and self._policy.wants_types
            others = ([], []) if owing is None else owing.users
            batch = fold(events, self._users, catalogue, types=types, others=others)
            self._prequential.recall_lists(batch)
            own = self._item_learning.select(events, batch) if self._item_learning else None
        with metrics.time(Stage.ENCODE):
            targets = encode_targets(batch.rows, batch.searches, catalogue, model)
        with metrics.time(Stage.ADAPT):
            steps = Steps(
                batch.slots,
                batch.rounds,
                batch.learns,
                targets,
                batch.types,
                batch.gaps,
                anew=batch.anew,
            )
            adapted = adapt(steps, self._arena, model)
        with metrics.time(Stage.RANK):
            some = None
            if owing is not None:
                some = asked(
                    owing, events, batch, adapted, arena=self._arena, model=model, types=types
                )
            ranked = rank(
                adapted.queries if some is None else some.queries,
                batch.recent_rows if some is None else some.recent_rows,
                catalogue,
                model,
                self._top_k,
                memory=self._memory_step(own, some),
                policy=self._of_policy(events, batch, some),
                prior=self._of_prior(events, batch, some),
            )
            self._prequential.score(batch, ranked.rows, some)
        self._count(batch, adapted)
        return Answers(events, batch, adapted, ranked, some)

    def forget_idle(
        self, events: int, held: Mapping[int, int] | None = None
    ) -> list[tuple[str, int]]:
        """Return users, with their partitions, who are forgotten as they were idle for too long.

        Args:
            events: of the micro-batch; few users are looked at after a small one.
            held: see `Users.forget_idle`.
        """
        return self._users.forget_idle(1 + events // _EVENTS_PER_LOOK, held)

    def _memory(self) -> MemoryStep | None:
        """Return the memory to rank with, taught nothing."""
        learning = self._item_learning
        if learning is None or not isinstance(learning.learner, ItemMemory):
            return None
        return MemoryStep(learning.learner)

    def _of_policy(
        self, events: EventColumns, batch: FoldedBatch, some: Asked | None
    ) -> BatchPolicy | None:
        if self._policy is None:
            return None
        if some is None:
            return self._policy.for_events(events, batch)
        return self._policy.for_answers(
            event_ids=some.addressed.event_ids,
            user_ids=some.addressed.user_ids,
            surfaces=some.surfaces,
            recent_rows=some.recent_rows,
            recent_types=some.recent_types,
        )

    def _of_prior(
        self, events: EventColumns, batch: FoldedBatch, some: Asked | None
    ) -> BatchPrior | None:
        if self._prior is None:
            return None
        if some is not None:
            return self._prior.for_lists(some.surfaces, some.recent_rows)
        surfaces = [events.surfaces[i] for i in batch.source.tolist()] if events.surfaces else None
        return self._prior.for_lists(surfaces, batch.recent_rows)

    def _memory_step(self, own: OwnTransitions | None, some: Asked | None) -> MemoryStep | None:
        """Return the memory to rank with; one that only learns is taught here and now."""
        if self._item_learning is None or own is None:
            return None
        learner = self._item_learning.learner
        if isinstance(learner, ItemMemory):
            return MemoryStep(learner, own, None if some is None else some.answered)
        if own.learns.any():
            new = own.chosen()
            learner.learn(new.items, new.before, new.types, new.times)
        return None

    def _count(self, batch: FoldedBatch, adapted: Adapted) -> None:
        metrics = self._metrics
        for outcome, count in batch.outcomes.items():
            metrics.records.labels(outcome.value).inc(count)
        for cause, count in batch.without_step.items():
            metrics.events_without_step.labels(cause.value).inc(count)
        refused = int((batch.learns & ~adapted.stepped).sum())
        if refused:
            metrics.events_without_step.labels(NoStep.NOT_FINITE.value).inc(refused)
        for kind, count in zip(
            EventType, np.bincount(batch.types, minlength=len(EventType)).tolist(), strict=True
        ):
            if count:
                metrics.events.labels(kind.value).inc(count)
        metrics.support_loss_before.observe_many(adapted.loss_before[adapted.stepped])
        metrics.support_loss_after.observe_many(adapted.loss_after[adapted.stepped])
        self._users.count_forgotten(int(batch.anew.sum()))
        if len(batch):
            metrics.batch_users.observe(len(batch.last_of_user()))
            metrics.batch_rounds.observe(int(batch.rounds.max()) + 1)
        self._users.report()


def _made_up_event(item_ids: list[str]) -> EventColumns:
    return EventColumns(
        event_ids=["event"],
        user_ids=["user"],
        types=[EventType.VIEW],
        times=[0],
        item_ids=[item_ids[0] if item_ids else "item"],
        queries=[None],
        partitions=[0],
        offsets=[0],
        record_times=[0],
    )
