"""The item memory as arms that do not rank by it, or do not publish, have to do with it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from worker.item_memory.config import WINDOW
from worker.item_memory.transitions import OwnTransitions, Transitions
from worker.item_sharing.interface import TransitionLearner
from worker.item_sharing.learning import ItemLearning
from worker.stages.decode import EventColumns
from worker.stages.fold import FoldedBatch


class TeachingOnly:
    """Of a model whose bundle has no item memory: it ranks without, and its users teach it.

    Args:
        learning: of the item memory.
    """

    def __init__(self, learning: ItemLearning) -> None:
        self._learning = learning

    @property
    def learner(self) -> TransitionLearner:
        """The memory, but not one to rank by."""
        return _Pupil(self._learning.learner)

    def select(self, events: EventColumns, batch: FoldedBatch) -> OwnTransitions:
        """Return what is to be learned from a micro-batch; see `ItemLearning.select`."""
        return self._learning.select(events, batch)


class Observing:
    """Of a shadow: it ranks by the memory, and teaches it nothing, for the primary does.

    Args:
        learning: of the item memory.
    """

    def __init__(self, learning: ItemLearning) -> None:
        self._learning = learning

    @property
    def learner(self) -> TransitionLearner:
        """The memory."""
        return self._learning.learner

    def select(self, events: EventColumns, batch: FoldedBatch) -> OwnTransitions:
        """Return that nothing is to be learned."""
        n = len(batch)
        nothing = np.full(n, -1, np.int32)
        before: NDArray[np.int32] = np.full((n, WINDOW), -1, np.int32)
        transitions = Transitions(nothing, before, batch.types, np.zeros(n, np.int64))
        return OwnTransitions(transitions, np.zeros(n, np.bool_))


class _Pupil:
    """What can be taught, and nothing else."""

    def __init__(self, learner: TransitionLearner) -> None:
        self.learn = learner.learn
        self.forget_row = learner.forget_row
