"""Users back into the arena, from their records."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

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
from worker.state.arena import UserArena
from worker.state.changelog import check_state, decode_rows
from worker.state.evidence import evidence_row, gap_seconds, learns, search_text
from worker.state.residents import ResidentUser
from worker.state.stored_events import keep_events
from worker.state.user_columns import NEVER
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
        found = [(one, state) for one in stored if (state := self._read(one)) is not None]
        slots = self._arena.admit_all(
            [one.user_id for one, _ in found], [one.partition for one, _ in found]
        )
        states = [state for _, state in found]
        for slot, state in zip(slots.tolist(), states, strict=True):
            self._fill(slot, state)
        same = np.array([state.model_version == self._model.version for state in states], np.bool_)
        self._place(
            slots[same], [state for state, is_same in zip(states, same, strict=True) if is_same]
        )
        self._adapt_again(slots[~same])

    def _read(self, stored: StoredUser) -> UserState | None:
        try:
            state = decode_state(stored.record)
            check_state(state, self._model)
        except DecodeError as error:
            self._metrics.restored_states.labels(RestoredState.INVALID.value).inc()
            _LOG.error("a user's state cannot be read, the user starts anew: %s", error)
            return None
        return state

    def _fill(self, slot: int, state: UserState) -> None:
        columns = self._arena.columns
        columns.offset[slot] = state.offset
        columns.events_seen[slot] = state.events_seen
        columns.last_time[slot] = state.last_time
        columns.active[slot] = state.active
        keep_events(self._arena, slot, state, self._catalogue)

    def _place(self, slots: NDArray[np.int64], states: Sequence[UserState]) -> None:
        if states:
            rows = decode_rows(states, self._model)
            self._arena.scatter_rows(self._arena.to_device(slots), rows)

    def _adapt_again(self, slots: NDArray[np.int64]) -> None:
        columns = _Support(self._catalogue)
        for slot in slots.tolist():
            user = ResidentUser(self._arena, slot)
            self._arena.columns.last_time[slot] = columns.add(user)
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
