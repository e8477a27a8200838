"""Users' states from the changelog to where the worker finds them when their users have events."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace

from schemas.codec import decode_state, encode_state
from schemas.errors import DecodeError
from schemas.user_state import UserState
from worker.metrics import RestoredState
from worker.model.interface import AdaptationModel
from worker.state.changelog import check_state
from worker.state.user_columns import NO_OFFSET
from worker.state.users import Users

_LOG = logging.getLogger(__name__)

StateRecord = tuple[bytes | None, bytes | None]
"""Key and value of a record of `user-state`."""


class StateLoader:
    """Takes over the records of one partition of `user-state`.

    They are checked and kept as they are; what it takes to have the user in the arena is done when
    the user has an event. A record that cannot be read is counted and reported without its content,
    and the user starts anew.

    Args:
        model: the model at hand.
        users: take the records.
    """

    def __init__(self, model: AdaptationModel, users: Users) -> None:
        self._model = model
        self._users = users

    def use(self, model: AdaptationModel, users: Users) -> None:
        """Go by another model, with other users."""
        self._model = model
        self._users = users

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

        Raises:
            StateStoreError: the store cannot be written.
        """
        latest = {(key or b"").decode(errors="replace"): value for key, value in records}
        results: Counter[RestoredState] = Counter()
        taken: dict[str, bytes | None] = {}
        ahead = 0
        for user_id, value in latest.items():
            state = self._read(user_id, value, results)
            taken[user_id] = None if state is None else value
            if state is None:
                continue
            is_ahead = state.partition == partition and state.offset >= next_offset
            ahead += is_ahead
            if is_ahead or state.partition != partition:
                taken[user_id] = encode_state(replace(state, partition=partition, offset=NO_OFFSET))
        self._users.store(partition, taken)
        if ahead:
            _LOG.warning(
                "%d users' states of partition %d are ahead of the clickstream, which must have "
                "been made anew since: their next events are applied whatever their offsets",
                ahead,
                partition,
            )
        return results

    def _read(
        self, user_id: str, value: bytes | None, results: Counter[RestoredState]
    ) -> UserState | None:
        if not value:
            results[RestoredState.ERASED] += 1
            return None
        try:
            state = decode_state(value)
            check_state(state, self._model)
        except DecodeError as error:
            results[RestoredState.INVALID] += 1
            _LOG.error("a user-state record cannot be read, its user starts anew: %s", error)
            return None
        if state.user_id != user_id:
            results[RestoredState.INVALID] += 1
            _LOG.error("a user-state record's key is not its user_id; it is left out")
            return None
        same = state.model_version == self._model.version
        results[RestoredState.RESTORED if same else RestoredState.ADAPTED_AGAIN] += 1
        return state
