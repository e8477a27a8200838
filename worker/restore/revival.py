"""Users back into the arena, from their records."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from schemas.clickstream import EVENT_TYPE_INDEX
from schemas.codec import decode_state
from schemas.errors import DecodeError
from schemas.user_state import UserState
from worker.catalogue import Catalogue
from worker.metrics import RestoredState, WorkerMetrics
from worker.model.interface import AdaptationModel
from worker.rows import NO_ITEM
from worker.stages.adapt import Steps, adapt
from worker.stages.encode import encode_targets
from worker.stages.fold import gap_seconds
from worker.state.arena import NEVER, ResidentUser, UserArena
from worker.state.changelog import check_state, decode_rows
from worker.state.evidence import evidence_row, learns, search_text
from worker.state.users import StoredUser

_LOG = logging.getLogger(__name__)


class Revival:
    """Makes resident users of records; it is what `Users` is given to do so.

    A state of another model version is not used as it is: the user is adapted again, by the model
    at hand, from the recent events that the state holds. A record that cannot be read is counted
    and reported without its content, and the user starts anew.

    Args:
        model: the model at hand.
        catalogue: rows of items, and their vectors for adapting again.
        arena: where the users go.
        metrics: of records that cannot be read.
    """

    def __init__(
        self,
        model: AdaptationModel,
        catalogue: Catalogue,
        arena: UserArena,
        metrics: WorkerMetrics,
    ) -> None:
        self._model = model
        self._catalogue = catalogue
        self._arena = arena
        self._metrics = metrics

    def __call__(self, stored: Sequence[StoredUser]) -> None:
        """Put users who are not resident into the arena, as far as their records can be read."""
        states = []
        for one in stored:
            state = self._read(one)
            if state is not None:
                states.append((one, state))
        users = self._arena.admit_all([(one.user_id, one.partition) for one, _ in states])
        for user, (_, state) in zip(users, states, strict=True):
            self._fill(user, state)
        pairs = [(user, state) for user, (_, state) in zip(users, states, strict=True)]
        self._place([pair for pair in pairs if pair[1].model_version == self._model.version])
        self._adapt_again([u for u, state in pairs if state.model_version != self._model.version])

    def _read(self, stored: StoredUser) -> UserState | None:
        try:
            state = decode_state(stored.record)
            check_state(state, self._model)
        except DecodeError as error:
            self._metrics.restored_states.labels(RestoredState.INVALID.value).inc()
            _LOG.error("a user's state cannot be read, the user starts anew: %s", error)
            return None
        return state

    def _fill(self, user: ResidentUser, state: UserState) -> None:
        user.offset = state.offset
        user.events_seen = state.events_seen
        user.last_time = state.last_time
        user.active = state.active
        user.recent.fill(state.recent, state.active, self._catalogue)
        user.recent.trim(self._arena.recent_events)

    def _place(self, users: Sequence[tuple[ResidentUser, UserState]]) -> None:
        if users:
            slots = np.array([user.slot for user, _ in users], np.int64)
            rows = decode_rows([state for _, state in users], self._model)
            self._arena.scatter_rows(self._arena.to_device(slots), rows)

    def _adapt_again(self, users: Sequence[ResidentUser]) -> None:
        columns = _Support(self._catalogue)
        for user in users:
            user.last_time = columns.add(user)
        if columns.slots:
            adapt(columns.steps(self._catalogue, self._model), self._arena, self._model)


class _Support:
    """Recent events of many users as the columns of `Steps`."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self.slots: list[int] = []
        self._rounds: list[int] = []
        self._rows: list[int] = []
        self._searches: dict[int, str] = {}
        self._types: list[int] = []
        self._gaps: list[float] = []

    def add(self, user: ResidentUser) -> int:
        """Add the user's recent events and return the time of the last one learned from."""
        last_time = NEVER
        for place, (kind, time, item_id, query) in enumerate(user.recent):
            row = evidence_row(kind, item_id, self._catalogue)
            text = search_text(kind, query)
            if text is not None:
                self._searches[len(self.slots)] = text
            self.slots.append(user.slot)
            self._rounds.append(place)
            self._rows.append(row)
            self._types.append(EVENT_TYPE_INDEX[kind])
            self._gaps.append(gap_seconds(time, last_time))
            if row != NO_ITEM or text is not None:
                last_time = max(last_time, time)
        return last_time

    def steps(self, catalogue: Catalogue, model: AdaptationModel) -> Steps:
        rows = np.array(self._rows, np.int64)
        return Steps(
            slots=np.array(self.slots, np.int64),
            rounds=np.array(self._rounds, np.int64),
            learns=learns(rows, self._searches),
            targets=encode_targets(rows, self._searches, catalogue, model),
            types=np.array(self._types, np.int64),
            gaps=np.array(self._gaps, np.float32),
        )
