"""The arms that events are answered by: the primary, and perhaps one that is tried beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from worker.arm import Arm, ArmAnswers
from worker.coalescing.asked import Owing
from worker.coalescing.owed import Owed
from worker.metrics import WorkerMetrics
from worker.micro_batch import Answered
from worker.model.interface import AdaptationModel
from worker.rollout.routing import Share
from worker.stages.decode import EventColumns, pick
from worker.stages.publish import OutgoingRecord, joined
from worker.state.store import StateStore

_LEAVING_AT_ONCE = 256
"""Users of an arm that serves no longer who are put into the store between two micro-batches."""


@dataclass(frozen=True)
class Trial:
    """An arm beside the primary, and the users that it is for."""

    arm: Arm
    share: Share
    shadow: bool
    """Whether it answers for itself only, and the primary answers its users."""


@dataclass(frozen=True)
class CombinedAnswers:
    """What several arms have to say to a micro-batch; see `worker.micro_batch.Answered`."""

    parts: Sequence[ArmAnswers]
    """Of the arms."""

    @property
    def applied(self) -> int:
        """How many events were applied."""
        return sum(answers.applied for answers in self.parts)

    def record_times(self) -> NDArray[np.int64]:
        """Return the timestamps of the records of the events that are answered."""
        times = [answers.record_times() for answers in self.parts]
        return np.concatenate([np.empty(0, np.int64), *times])

    def recommendations(self) -> Sequence[OutgoingRecord]:
        """Return a record for each list, a user's in order."""
        return joined(*(answers.recommendations() for answers in self.parts))

    def states(self) -> Sequence[OutgoingRecord]:
        """Return the states of the users answered."""
        return joined(*(answers.states() for answers in self.parts))


class Arms:
    """Answers events; see `worker.micro_batch.Answering`.

    Args:
        store: of the users in no arm's arena; closed at the end.
        metrics: of the users.
        owed: whom an answer is owed; None if each event is to be answered at once.
    """

    def __init__(self, store: StateStore, metrics: WorkerMetrics, owed: Owed | None = None) -> None:
        self._store = store
        self._metrics = metrics
        self._owed = owed
        self._shadow_owed: Owed | None = None
        """Likewise of a shadow, which answers nobody, but ranks when it would."""
        self._primary: Arm | None = None
        self._trial: Trial | None = None
        self._retired: list[Arm] = []
        self._turn = False

    @property
    def primary(self) -> Arm:
        """The arm of everybody who is in no other."""
        assert self._primary is not None, "nothing is served yet"
        return self._primary

    @property
    def trial(self) -> Trial | None:
        """What is tried beside it."""
        return self._trial

    @property
    def model(self) -> AdaptationModel:
        """The primary arm's."""
        return self.primary.model

    def serve(self, primary: Arm, trial: Trial | None) -> None:
        """Answer by these from the next micro-batch on.

        Arms that served and are not among them keep their users until they are wanted, or have been
        put into the store, a few at a time (`tidy_up`). A shadow's users are forgotten.
        """
        self.drop_shadow()
        staying = {primary} if trial is None or trial.shadow else {primary, trial.arm}
        self._retired = [arm for arm in self.canonical() if arm not in staying]
        self._primary, self._trial = primary, trial
        for arm in self._all():
            arm.users.alone = False
        if self._owed is not None and trial is not None and trial.shadow:
            self._shadow_owed = self._owed.twin()

    def serving(self) -> list[Arm]:
        """Return the arms that events go to: the primary, and what is tried."""
        return [self.primary, *([] if self._trial is None else [self._trial.arm])]

    def drop_shadow(self) -> None:
        """Forget a shadow and its users, if there is one."""
        if self._trial is not None and self._trial.shadow:
            self._trial.arm.users.close()
            self._trial = self._shadow_owed = None

    def canonical(self) -> list[Arm]:
        """Return the arms whose users' states are those of the changelog: all but a shadow."""
        trial = [self._trial.arm] if self._trial is not None and not self._trial.shadow else []
        return [*([self._primary] if self._primary is not None else []), *trial, *self._retired]

    def process(self, events: EventColumns) -> Answered:
        """Apply events to their users and rank for them."""
        trial, owing = self._trial, _owing(self._owed)
        if trial is None:
            answers: Answered = self.primary.process(events, owing)
        elif trial.shadow:
            self._process_in_shadow(trial, events)
            answers = self.primary.process(events, owing)
        else:
            answers = self._process_divided(trial, events, owing)
        self.report()
        return answers

    def forget_idle(self, events: int) -> Sequence[OutgoingRecord]:
        """Forget users who were idle for too long; return the records that erase their states."""
        held = None if self._owed is None else self._owed.held()
        forgotten = self.primary.forget_idle(events, held)
        if self._trial is None:
            return forgotten
        of_trial = self._trial.arm.forget_idle(events, held)
        return forgotten if self._trial.shadow else joined(forgotten, of_trial)

    def store(self, partition: int, records: Mapping[str, bytes | None]) -> None:
        """Take over users as the changelog has them; see `worker.state.users.Users.store`."""
        self.primary.users.store(partition, records)

    def erase(self, user_id: str) -> bool:
        """Forget a user wherever there is something of it; return whether there was."""
        found = [arm.users.erase(user_id) for arm in self._all()]
        for owed in (self._owed, self._shadow_owed):
            if owed is not None:
                owed.forget([user_id])
        return any(found)

    def owe_nothing(self, partitions: Sequence[int]) -> None:
        """Owe no answers to the users of partitions that are someone else's."""
        for owed in (self._owed, self._shadow_owed):
            if owed is not None:
                owed.release_partitions(partitions)

    def release_partition(self, partition: int) -> None:
        """Forget the users of a partition: they are someone else's."""
        for arm in self._all():
            arm.users.release_partition(partition)

    def warm_up(self) -> None:
        """Compile what ranking is made of; to be called once the catalogue is read."""
        for arm in self._all():
            arm.warm_up()

    def tidy_up(self) -> None:
        """Put some users of arms that serve no longer into the store, and drop arms without any."""
        for arm in self._retired:
            arm.users.send_out(arm.arena.take_longest_away(_LEAVING_AT_ONCE))
        self._retired = [arm for arm in self._retired if len(arm.arena)]

    def report(self) -> None:
        """Set the gauges, once each: a scrape may come at any time."""
        self._metrics.users_resident.set(sum(len(arm.arena) for arm in self.canonical()))
        self._metrics.users_stored.set(self.primary.users.stored)
        self._metrics.rollout_retired_users.set(sum(len(arm.arena) for arm in self._retired))

    def close(self) -> None:
        """Close the stores; no arm is of any use then."""
        self.drop_shadow()
        self._store.close()

    def _all(self) -> list[Arm]:
        """Return all arms, the shadow first: it copies from the others what it does not know."""
        trial = self._trial
        return [*([trial.arm] if trial is not None and trial.shadow else []), *self.canonical()]

    def _process_in_shadow(self, trial: Trial, events: EventColumns) -> None:
        """Have the shadow rank before the item memory learns of its users' next steps."""
        inside = np.flatnonzero(trial.share.of(events.user_ids))
        owing = _owing(self._shadow_owed)
        if inside.size or (owing is not None and owing.due):
            # Its answers go nowhere, so they end no trace.
            theirs = pick(replace(events, traces=[]), inside)
            # Whom the shadow does not know yet it copies as they are before these events.
            self.primary.users.bring_in(theirs.user_ids, theirs.partitions)
            trial.arm.process(theirs, owing)
            if owing is not None:
                owing.owed.published()

    def _process_divided(
        self, trial: Trial, events: EventColumns, owing: Owing | None
    ) -> CombinedAnswers:
        inside = trial.share.of(events.user_ids)
        ours, theirs = (None, None) if owing is None else owing.divided(trial.share.of)
        parts = [
            (self.primary, np.flatnonzero(~inside), ours),
            (trial.arm, np.flatnonzero(inside), theirs),
        ]
        # Who comes second knows what the item memory learned from the first: a turn each.
        self._turn = not self._turn
        if self._turn:
            parts.reverse()
        return CombinedAnswers(
            [
                arm.process(pick(events, positions), owing_of_arm)
                for arm, positions, owing_of_arm in parts
                if positions.size or (owing_of_arm is not None and owing_of_arm.due)
            ]
        )


def _owing(owed: Owed | None) -> Owing | None:
    """Begin a micro-batch with what is owed."""
    return None if owed is None else Owing(owed, owed.begin())
