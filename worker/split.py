"""The time-cut protocol: which users are new, what may be trained on, what is scored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DataError
from worker.data import EventLog

SCORED_EVENTS = 21
"""A new user's first events are scored, up to this many."""


@dataclass(frozen=True)
class TimeCut:
    """A log, split at a time.

    New users are those whose first event comes after the cut. Training sees the other users'
    events before it; the stream is everything else, in time order.
    """

    time: int
    """The cut, milliseconds since the epoch."""
    train: EventLog
    stream: EventLog
    scored: NDArray[np.bool_]
    """Which stream events are scored: each new user's first `SCORED_EVENTS`, (len(stream),)."""
    events_seen: NDArray[np.int32]
    """How many events of the same user come before each stream event in the log, (len(stream),)."""


def split_at(log: EventLog, quantile: float, held_out: NDArray[np.bool_] | None = None) -> TimeCut:
    """Cut a log at a quantile of the users' first-event times.

    Args:
        log: events in time order.
        quantile: between 0 and 1; the protocol's is 0.75.
        held_out: (len(log),) events to leave out of training. They do not move the cut, and those
            of the stream stay in it.

    Raises:
        DataError: one side of the cut is empty.
    """
    cut, in_train = training_mask(log, quantile)
    order = occurrence(log.users)
    stream = ~in_train
    if held_out is not None:
        in_train &= ~held_out
        if not in_train.any():
            raise DataError("all training events are held out; hold out less")
    first = _first_times(log)
    return TimeCut(
        time=cut,
        train=log.where(in_train),
        stream=log.where(stream),
        scored=((first > cut)[log.users] & (order < SCORED_EVENTS))[stream],
        events_seen=order[stream],
    )


def training_mask(log: EventLog, quantile: float) -> tuple[int, NDArray[np.bool_]]:
    """Return the cut and which events training may see, (len(log),); the others are the stream.

    Raises:
        DataError: one side of the cut is empty.
    """
    first = _first_times(log)
    present = np.unique(log.users)
    cut = int(np.quantile(first[present], quantile)) if len(present) else 0
    new_event = (first > cut)[log.users]
    in_train = (log.times < cut) & ~new_event
    if not in_train.any() or not new_event.any():
        raise DataError(
            f"cutting at the {quantile} quantile of first-event times leaves no events on one side"
            " (nothing to train on, or no new users); give more events or another --cut"
        )
    return cut, in_train


def _first_times(log: EventLog) -> NDArray[np.int64]:
    """Return the time of each user's first event, (len(log.user_ids),)."""
    first = np.full(len(log.user_ids), np.iinfo(np.int64).max)
    np.minimum.at(first, log.users, log.times)
    return first


def occurrence(codes: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return, for each element, how many equal elements stand before it: (n,) → (n,)."""
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    lengths = np.diff(np.r_[starts, len(ordered)])
    positions = np.arange(len(ordered)) - np.repeat(starts, lengths)
    result = np.empty(len(codes), np.int32)
    result[order] = positions
    return result
