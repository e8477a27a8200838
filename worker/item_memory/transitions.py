"""What an item memory learns from, as columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Transitions:
    """n transitions; a column holds one entry a transition, as `TransitionLearner.learn` wants."""

    items: NDArray[np.int32]
    before: NDArray[np.int32]
    types: NDArray[np.int64]
    times: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.items)

    def where(self, mask: NDArray[np.bool_]) -> Transitions:
        """Return those for which the mask, (n,), is true."""
        return Transitions(self.items[mask], self.before[mask], self.types[mask], self.times[mask])


@dataclass(frozen=True)
class OwnTransitions:
    """What the item memory is to learn from a micro-batch of n events applied."""

    transitions: Transitions
    """One for each event, in the order of the `FoldedBatch`."""
    learns: NDArray[np.bool_]
    """Which of them are to be learned, (n,)."""

    def chosen(self) -> Transitions:
        """Return those to be learned, in order."""
        return self.transitions.where(self.learns)
