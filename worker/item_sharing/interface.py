"""What the sharing of an item memory needs of the memory.

The memory learns from *transitions*: a user acted on an item, having acted on others before. How it
does so is its own business; what it learned must not depend on the order of transitions beyond
rounding, for each worker meets those of the other workers in an order of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from worker.catalogue import Catalogue
from worker.item_memory.config import MemoryConfig

NOTHING_KNOWN = -1
"""`MemorySource.since_ms` of a memory that begins empty."""


class TransitionLearner(Protocol):
    """An item memory that learns, keyed by catalogue row."""

    def learn(
        self,
        items: NDArray[np.int32],
        before: NDArray[np.int32],
        types: NDArray[np.int64],
        times: NDArray[np.int64],
    ) -> None:
        """Learn from n transitions, in the order given.

        Args:
            items: rows of the items acted on, (n,).
            before: rows of the items that the same user acted on before, newest first,
                (n, WINDOW); filled up at the end with `NO_ITEM`.
            types: rows of `schemas.clickstream.EVENT_TYPE_INDEX`, (n,).
            times: event times, milliseconds since the epoch, (n,).
        """
        ...

    def forget_row(self, row: int) -> None:
        """Forget an item: the catalogue dropped it."""
        ...


@dataclass(frozen=True)
class MemorySource:
    """Where a worker's item memory comes from."""

    open: Callable[[Catalogue], TransitionLearner]
    """Makes the memory. Called once the catalogue is read, before the first transition."""
    since_ms: int = NOTHING_KNOWN
    """Events at or before this time, milliseconds since the epoch, are in the memory as it is
    opened; it is not taught them again."""
    config: MemoryConfig | None = None
    """Of an `ItemMemory`: models whose memories have the same one can rank by the same memory."""
