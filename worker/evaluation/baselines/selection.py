"""Choosing a method's settings on a slice of the training events, never on the users reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from worker.data import EventLog
from worker.evaluation.baselines.base import StreamRecommender

R = TypeVar("R", bound=StreamRecommender)

_FIRST_SEEN_QUANTILE = 0.75
_MAX_USERS = 2000
_LIST_LENGTH = 20


def choose_on_validation(candidates: Sequence[R], train: EventLog, n_items: int) -> R:
    """Return the candidate with the best HR@20 on a validation slice; the first among equals.

    The slice repeats the protocol one step earlier, inside `train`: the users first seen after the
    75 % quantile of first-event times are ranked, at most 2,000 of them, spread over that period;
    the other users' events before it are learned from. With too few events for such a slice the
    first candidate is returned.
    """
    fit, stream, scored = validation_slice(train)
    if len(fit) == 0 or not scored.any():
        return candidates[0]
    hits = []
    for candidate in candidates:
        ranks = candidate.prequential_ranks(fit, stream, scored, n_items)
        hits.append(int(np.count_nonzero((ranks >= 0) & (ranks < _LIST_LENGTH))))
    return candidates[int(np.argmax(hits))]


def validation_slice(train: EventLog) -> tuple[EventLog, EventLog, NDArray[np.bool_]]:
    """Split training events into events to learn from, a stream, and the mask of those to rank."""
    if len(train) == 0:
        return train, train, np.zeros(0, dtype=np.bool_)
    users, first_rows = np.unique(train.users, return_index=True)
    first_times = train.times[first_rows]
    cut = np.quantile(first_times, _FIRST_SEEN_QUANTILE)
    new_users = users[first_times > cut]
    # In order of arrival, so that the ranked users are spread over the period.
    new_users = new_users[np.argsort(first_rows[first_times > cut])]
    every = max(1, -(-len(new_users) // _MAX_USERS))
    is_fit = (train.times < cut) & ~np.isin(train.users, new_users)
    scored = np.isin(train.users, new_users[::every])
    return train.where(is_fit), train.where(~is_fit), scored[~is_fit]
