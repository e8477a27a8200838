"""Sessions of a log, laid out in arrays that compiled code walks without searching.

A session is a user's whole history, as in the protocol. The layout is fixed when the log is given:
each user's events lie side by side in time order, and so do, for each item, the users in the order
in which they first acted on it. What a method knows at a moment is a *prefix* of each: `learned`
events of a user, `learned_users` of an item. Learning an event moves these ends by one, so a
session of the stream becomes a neighbour while it happens, at the price of two increments. No
entry beyond the ends is read.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.data import EventLog


class SessionLog(NamedTuple):
    """The layout, and how far it is known; rows are events ordered by user, then by time."""

    n_items: int
    items: NDArray[np.int32]
    """Item of each row, (n,)."""
    same_later: NDArray[np.int64]
    """The next row of the same user and item, (n,); n if there is none."""
    is_first: NDArray[np.bool_]
    """Whether the row is the user's first on its item, (n,)."""
    starts: NDArray[np.int64]
    """First row of each user, (users + 1,)."""
    item_users: NDArray[np.int32]
    """The users of each item, one item after the other, in order of their first event on it."""
    item_starts: NDArray[np.int64]
    """Where each item's users start in `item_users`, (items + 1,)."""
    happened: NDArray[np.int64]
    """How many of each user's events have happened: the current session, (users,)."""
    learned: NDArray[np.int64]
    """How many of them have been learned from: the session as a neighbour, (users,)."""
    distinct: NDArray[np.int64]
    """How many items the learned events are on, (users,)."""
    last_time: NDArray[np.int64]
    """Time of each user's last learned event, ms, (users,)."""
    last_event: NDArray[np.int64]
    """Its place among all events learned, from 1, (users,); 0 if there is none."""
    learned_users: NDArray[np.int64]
    """How many of each item's users have been learned, (items,)."""
    totals: NDArray[np.int64]
    """Learned events and learned sessions, (2,)."""


def lay_out(train: EventLog, stream: EventLog, n_items: int) -> SessionLog:
    """Lay out two logs of the same codes, `stream` after `train`; nothing has happened yet."""
    users = np.concatenate([train.users, stream.users])
    items = np.concatenate([train.items, stream.items])
    n, n_users = len(users), int(users.max(initial=-1)) + 1
    order = np.argsort(users, kind="stable")
    by_pair = np.argsort(users[order].astype(np.int64) * n_items + items[order], kind="stable")
    earlier, later = _neighbours_of_equal_pairs(users[order], items[order], by_pair)
    same_later = np.full(n, n, dtype=np.int64)
    same_later[earlier] = later
    is_first = np.ones(n, dtype=np.bool_)
    is_first[later] = False
    in_time = np.empty(n, dtype=np.bool_)
    in_time[order] = is_first
    first_users, first_items = users[in_time], items[in_time]
    return SessionLog(
        n_items=n_items,
        items=items[order].astype(np.int32),
        same_later=same_later,
        is_first=is_first,
        starts=_starts(users, n_users),
        item_users=first_users[np.argsort(first_items, kind="stable")].astype(np.int32),
        item_starts=_starts(first_items, n_items),
        happened=np.zeros(n_users, dtype=np.int64),
        learned=np.zeros(n_users, dtype=np.int64),
        distinct=np.zeros(n_users, dtype=np.int64),
        last_time=np.zeros(n_users, dtype=np.int64),
        last_event=np.zeros(n_users, dtype=np.int64),
        learned_users=np.zeros(n_items, dtype=np.int64),
        totals=np.zeros(2, dtype=np.int64),
    )


@njit(cache=True)
def learn(log: SessionLog, user: int, time: int) -> None:
    """Learn the user's first event that has not been learned; call in time order.

    Args:
        log: changed in place.
        user: whose event.
        time: of the event, ms.
    """
    row = log.starts[user] + log.learned[user]
    if log.learned[user] == 0:
        log.totals[1] += 1
    log.learned[user] += 1
    log.totals[0] += 1
    log.last_event[user] = log.totals[0]
    log.last_time[user] = time
    if log.is_first[row]:
        log.distinct[user] += 1
        log.learned_users[log.items[row]] += 1


@njit(cache=True)
def learn_all(log: SessionLog, users: NDArray[np.int32], times: NDArray[np.int64]) -> None:
    """Let events happen one after the other, and learn each: users (n,), times (n,)."""
    for event in range(len(users)):
        learn(log, users[event], times[event])
        log.happened[users[event]] += 1


def _neighbours_of_equal_pairs(
    users: NDArray[np.int32], items: NDArray[np.int32], by_pair: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    earlier, later = by_pair[:-1], by_pair[1:]
    equal = (users[earlier] == users[later]) & (items[earlier] == items[later])
    return earlier[equal], later[equal]


def _starts(codes: NDArray[np.int32], n: int) -> NDArray[np.int64]:
    starts = np.zeros(n + 1, dtype=np.int64)
    np.cumsum(np.bincount(codes, minlength=n), out=starts[1:])
    return starts
