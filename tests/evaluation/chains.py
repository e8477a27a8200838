"""Logs in which what comes next follows from what came last, for rivals that must learn it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.data import EventLog

N_ITEMS = 120
FOLLOW = 0.9
"""How often the next item is the last one's successor."""


@dataclass(frozen=True)
class ChainLog:
    """Training users and new users on the same chain of items."""

    train: EventLog
    stream: EventLog
    scored: NDArray[np.bool_]
    successor: NDArray[np.int64]
    """Of every item."""


def chain_log(
    seed: int = 0, train_users: int = 500, new_users: int = 60, events: int = 8
) -> ChainLog:
    """Draw users who follow one random cycle through all items, with exceptions."""
    rng = np.random.default_rng(seed)
    cycle = rng.permutation(N_ITEMS)
    successor = np.empty(N_ITEMS, np.int64)
    successor[cycle] = np.roll(cycle, -1)
    users = train_users + new_users
    items = np.empty((users, events), np.int64)
    items[:, 0] = rng.integers(0, N_ITEMS, users)
    for t in range(1, events):
        follows = rng.random(users) < FOLLOW
        items[:, t] = np.where(follows, successor[items[:, t - 1]], rng.integers(0, N_ITEMS, users))
    times = np.sort(rng.integers(0, 1000, items.shape), axis=1)
    times[train_users:] += 10_000
    order = np.argsort(times.ravel(), kind="stable")
    codes = np.repeat(np.arange(users), events)[order]
    log = EventLog(
        users=codes.astype(np.int32),
        items=items.ravel()[order].astype(np.int32),
        types=np.zeros(users * events, np.int8),
        times=times.ravel()[order],
        user_ids=[f"u{code}" for code in range(users)],
    )
    is_new = codes >= train_users
    stream = log.where(is_new)
    return ChainLog(log.where(~is_new), stream, np.ones(len(stream), np.bool_), successor)
