"""Small event logs for the tests of this folder."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from worker.data import EventLog

N_USERS = 4
N_ITEMS = 6

Pairs = list[tuple[int, int]]


def make_log(pairs: Pairs, times: list[int] | None = None) -> EventLog:
    """An EventLog of (user, item) pairs; one millisecond apart unless `times` says otherwise."""
    return EventLog(
        users=np.array([user for user, _ in pairs], dtype=np.int32),
        items=np.array([item for _, item in pairs], dtype=np.int32),
        types=np.zeros(len(pairs), dtype=np.int8),
        times=np.array(range(len(pairs)) if times is None else times, dtype=np.int64),
        user_ids=[f"u{code}" for code in range(max([N_USERS - 1, *(u for u, _ in pairs)]) + 1)],
    )


def all_of(log: EventLog) -> NDArray[np.bool_]:
    """The mask that scores every event."""
    return np.ones(len(log), dtype=np.bool_)


def pairs(max_size: int = 25, min_size: int = 0) -> st.SearchStrategy[Pairs]:
    """Random (user, item) pairs in time order."""
    event = st.tuples(st.integers(0, N_USERS - 1), st.integers(0, N_ITEMS - 1))
    return st.lists(event, min_size=min_size, max_size=max_size)
