"""Users' states back into memory, from what the changelog holds of them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from schemas.clickstream import EVENT_TYPE_INDEX
from schemas.codec import decode_state
from schemas.errors import DecodeError
from schemas.user_state import UserState
from worker.catalogue import Catalogue
from worker.metrics import RestoredState
from worker.model.interface import AdaptationModel
from worker.rows import NO_ITEM
from worker.stages.adapt import Steps, adapt
from worker.stages.encode import encode_targets
from worker.stages.fold import gap_seconds
from worker.state.arena import NEVER, NO_OFFSET, ResidentUser, UserArena
from worker.state.changelog import check_state, decode_arrays
from worker.state.evidence import evidence_row, learns, search_text

_LOG = logging.getLogger(__name__)

StateRecord = tuple[bytes | None, bytes | None]
"""Key and value of a record of `user-state`."""


class StateLoader:
    """Puts the records of one partition of `user-state` into the arena.

    A state of another model version is not used as it is: the user is adapted again, by the model
    at hand, from the recent events that the state holds. A record that cannot be read is counted
    and reported without its content, and the user starts anew.

    Args:
        model: the model at hand.
        catalogue: item vectors, for adapting again.
        arena: where the users go.
    """

    def __init__(self, model: AdaptationModel, catalogue: Catalogue, arena: UserArena) -> None:
        self._model = model
        self._catalogue = catalogue
        self._arena = arena

    def load(
        self, records: Sequence[StateRecord], partition: int, next_offset: int
    ) -> Counter[RestoredState]:
        """Take over records in the order of their offsets; the last one of a user counts.

        Args:
            records: keys and values.
            partition: of `user-state` and `clickstream`.
            next_offset: end of that partition of `clickstream`. A state that claims to hold records
                beyond it stems from a topic since deleted and made anew; it is kept, but no record
                counts as applied already.
        """
        results: Counter[RestoredState] = Counter()
        states: dict[str, UserState] = {}
        for key, value in records:
            self._take(key, value, states, results)
        self._admit(states, partition, next_offset)
        same = [state for state in states.values() if state.model_version == self._model.version]
        other = [state for state in states.values() if state.model_version != self._model.version]
        if same:
            slots = np.array([self._slot(state.user_id) for state in same], np.int64)
            self._arena.scatter(self._arena.to_device(slots), decode_arrays(same, self._model))
        if other:
            self._adapt_again(other)
        results[RestoredState.RESTORED] += len(same)
        results[RestoredState.ADAPTED_AGAIN] += len(other)
        return +results

    def _take(
        self,
        key: bytes | None,
        value: bytes | None,
        states: dict[str, UserState],
        results: Counter[RestoredState],
    ) -> None:
        user_id = (key or b"").decode(errors="replace")
        self._forget(user_id, states)
        if not value:
            results[RestoredState.ERASED] += 1
            return
        try:
            state = decode_state(value)
            check_state(state, self._model)
        except DecodeError as error:
            results[RestoredState.INVALID] += 1
            _LOG.error("a user-state record cannot be read, its user starts anew: %s", error)
            return
        if state.user_id != user_id:
            results[RestoredState.INVALID] += 1
            _LOG.error("a user-state record's key is not its user_id; it is left out")
            return
        states[user_id] = state

    def _forget(self, user_id: str, states: dict[str, UserState]) -> None:
        states.pop(user_id, None)
        resident = self._arena.get(user_id)
        if resident is not None:
            self._arena.release([resident])

    def _admit(self, states: Mapping[str, UserState], partition: int, next_offset: int) -> None:
        admitted = self._arena.admit_all([(user_id, partition) for user_id in states])
        ahead = 0
        for user, state in zip(admitted, states.values(), strict=True):
            user.events_seen = state.events_seen
            user.last_time = state.last_time
            if state.partition == partition:
                user.offset = state.offset
            if user.offset >= next_offset:
                user.offset = NO_OFFSET
                ahead += 1
            for event in state.recent:
                row = evidence_row(event.type, event.item_id, self._catalogue)
                self._arena.remember(user, event, row)
        if ahead:
            _LOG.warning(
                "%d users' states of partition %d are ahead of the clickstream, which must have "
                "been made anew since: their next events are applied whatever their offsets",
                ahead,
                partition,
            )

    def _slot(self, user_id: str) -> int:
        return self._resident(user_id).slot

    def _resident(self, user_id: str) -> ResidentUser:
        user = self._arena.get(user_id)
        assert user is not None  # admitted before
        return user

    def _adapt_again(self, states: Sequence[UserState]) -> None:
        users = [self._resident(state.user_id) for state in states]
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
        for place, event in enumerate(user.recent.values()):
            row = evidence_row(event.type, event.item_id, self._catalogue)
            text = search_text(event.type, event.query)
            if text is not None:
                self._searches[len(self.slots)] = text
            self.slots.append(user.slot)
            self._rounds.append(place)
            self._rows.append(row)
            self._types.append(EVENT_TYPE_INDEX[event.type])
            self._gaps.append(gap_seconds(event.time, last_time))
            if row != NO_ITEM or text is not None:
                last_time = max(last_time, event.time)
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
