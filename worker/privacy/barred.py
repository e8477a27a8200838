"""Whose events must not be used, and up to when: a compact table of users who asked for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from schemas.privacy import PrivacyAction
from schemas.user_state import event_key

FOR_EVER = int(np.iinfo(np.int64).max)
NOT_BARRED = -1
_LATELY = 4096


class Barred:
    """Up to which time, by user, events are not used; of one partition.

    A user is 64 bits of the BLAKE2b digest of the id, so that no id is kept here. Another user
    shares them by chance with probability 2⁻⁶⁴ for each user barred. Sixteen bytes a user, besides
    those who came lately.
    """

    def __init__(self) -> None:
        self._keys: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._until: NDArray[np.int64] = np.empty(0, np.int64)
        self._lately: dict[int, int] = {}

    def __len__(self) -> int:
        """Return how many users were ever barred; some may be counted twice for a while."""
        return len(self._keys) + len(self._lately)

    def note(self, user_id: str, action: PrivacyAction, time_ms: int) -> None:
        """Take note of a request.

        An erasure bars the events up to its time; a withdrawal all events, until consent is granted
        again, and then those up to that time stay barred.

        Args:
            user_id: who asks.
            action: for what.
            time_ms: when, milliseconds since the epoch.
        """
        key = event_key(user_id)
        before = self._until_of(key)
        if action is PrivacyAction.WITHDRAW_CONSENT:
            self._set(key, FOR_EVER)
        elif action is PrivacyAction.ERASE:
            self._set(key, max(before, time_ms))
        elif before == FOR_EVER:
            self._set(key, time_ms)

    def lift(self, user_id: str) -> None:
        """Take note that there are no requests of a user any more."""
        key = event_key(user_id)
        if self._until_of(key) != NOT_BARRED:
            self._set(key, NOT_BARRED)

    def until(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return up to which time users are barred, milliseconds since the epoch.

        Args:
            keys: `schemas.user_state.event_key` of the ids, (n,).

        Returns:
            (n,), `FOR_EVER` where no event is to be used, `NOT_BARRED` where all may be.
        """
        found = np.full(len(keys), NOT_BARRED, np.int64)
        if len(self._keys):
            places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            found = np.where(self._keys[places] == keys, self._until[places], NOT_BARRED)
        if self._lately:
            pairs = zip(keys.tolist(), found.tolist(), strict=True)
            found = np.array([self._lately.get(key, before) for key, before in pairs], np.int64)
        return found

    def until_of(self, user_id: str) -> int:
        """Return up to which time one user is barred; see `until`."""
        return self._until_of(event_key(user_id)) if len(self) else NOT_BARRED

    def _until_of(self, key: int) -> int:
        lately = self._lately.get(key)
        if lately is not None or not len(self._keys):
            return NOT_BARRED if lately is None else lately
        place = min(int(self._keys.searchsorted(np.uint64(key))), len(self._keys) - 1)
        return int(self._until[place]) if self._keys[place] == key else NOT_BARRED

    def _set(self, key: int, until: int) -> None:
        self._lately[key] = until
        if len(self._lately) >= max(_LATELY, len(self._keys) // 8):
            self._merge()

    def _merge(self) -> None:
        """Put those who came lately among the others, in order."""
        new = np.fromiter(self._lately, np.uint64, len(self._lately))
        until = np.fromiter(self._lately.values(), np.int64, len(self._lately))
        stay = ~np.isin(self._keys, new)
        keys = np.concatenate([self._keys[stay], new])
        times = np.concatenate([self._until[stay], until])
        order = np.argsort(keys)
        order = order[times[order] != NOT_BARRED]
        self._keys, self._until = keys[order], times[order]
        self._lately = {}
