"""Choosing a method's settings on a slice of the training events, never on the users reported."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from worker.data import EventLog
from worker.evaluation.baselines.base import Setting, StreamRecommender
from worker.ranking_quality import Quality, quality
from worker.split import SCORED_EVENTS, occurrence

R = TypeVar("R", bound=StreamRecommender)

_FIRST_SEEN_QUANTILE = 0.75
_MAX_USERS = 2000


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate on the validation slice."""

    settings: dict[str, Setting]
    quality: Quality
    seconds: float

    @property
    def criterion(self) -> float:
        """HR@20 + MRR@20: what is chosen by. -1 where nothing was ranked."""
        if self.quality.hit_rate is None or self.quality.reciprocal_rank is None:
            return -1.0
        return self.quality.hit_rate + self.quality.reciprocal_rank


def choose_on_validation(candidates: Sequence[R], train: EventLog, n_items: int) -> R:
    """Return the candidate with the best HR@20 + MRR@20 on the slice; the first among equals.

    With too few events for a slice the first candidate is returned.
    """
    return candidates[best(validate(candidates, train, n_items))]


def best(trials: Sequence[Trial]) -> int:
    """Return the place of the trial with the highest criterion, the first among equals; or 0."""
    return int(np.argmax([trial.criterion for trial in trials])) if trials else 0


def validate(
    candidates: Sequence[StreamRecommender],
    train: EventLog,
    n_items: int,
    on_trial: Callable[[int, int], None] = lambda done, of: None,
) -> list[Trial]:
    """Score each candidate on the validation slice.

    Args:
        candidates: methods, which learn from the slice's first part alone.
        train: the events before the cut.
        n_items: size of the catalogue.
        on_trial: told after each candidate how many of how many are done.

    Returns:
        A trial for each candidate, in order; none with too few events for a slice.
    """
    fit, stream, scored = validation_slice(train)
    if len(fit) == 0 or not scored.any():
        return []
    trials = []
    for done, candidate in enumerate(candidates, start=1):
        started = time.perf_counter()
        ranks = candidate.prequential_ranks(fit, stream, scored, n_items)
        trials.append(
            Trial(
                settings=candidate.settings,
                quality=quality(ranks[ranks >= 0]),
                seconds=round(time.perf_counter() - started, 3),
            )
        )
        on_trial(done, len(candidates))
    return trials


def validation_slice(train: EventLog) -> tuple[EventLog, EventLog, NDArray[np.bool_]]:
    """Split training events into events to learn from, a stream, and the mask of those to rank.

    The slice repeats the protocol one step earlier, inside `train`: of the users first seen after
    the 75 % quantile of first-event times the first events are ranked, at most 2,000 users spread
    over that period; the other users' events before it are learned from.
    """
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
    scored = np.isin(train.users, new_users[::every]) & (occurrence(train.users) < SCORED_EVENTS)
    return train.where(is_fit), train.where(~is_fit), scored[~is_fit]
