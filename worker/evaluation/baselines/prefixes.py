"""What a user has done before each event, and results kept between candidates of one tuning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import torch
from torch import Tensor

from worker.data import EventLog

T = TypeVar("T")

NO_EVENT = -1
"""Fills up the windows of events with a shorter past."""


def recent_before(rows: Tensor, length: int) -> Tensor:
    """Return the last events before each event, newest first.

    Args:
        rows: items of n histories, oldest first, (n, T).
        length: how many to return, L.

    Returns:
        (n, T, L); the entry at (user, t, m) is the item of event t − 1 − m, `NO_EVENT` before the
        first.
    """
    if length == 0:
        return rows.new_empty((*rows.shape, 0))
    before = rows.new_full((len(rows), length), NO_EVENT)
    windows = torch.cat([before, rows], dim=1).unfold(1, length, 1)
    return windows[:, : rows.shape[1]].flip(2)


class LastResult(Generic[T]):
    """Keeps the last result of a costly step on a log, for a next call with the same arguments.

    The candidates of one tuning are all trained on one log; those that differ only in what comes
    after the costly step share it.
    """

    def __init__(self) -> None:
        self._log: EventLog | None = None
        self._arguments: tuple[object, ...] = ()
        self._result: T | None = None

    def get(self, log: EventLog, arguments: tuple[object, ...], make: Callable[[], T]) -> T:
        """Return the kept result for the same log (the object itself) and arguments, or make it."""
        if self._result is None or self._log is not log or self._arguments != arguments:
            self._result = make()
            self._log, self._arguments = log, arguments
        return self._result
