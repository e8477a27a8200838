"""Compile the memory's loops ahead of the first event: that takes seconds where no cache helps."""

from __future__ import annotations

import numpy as np

from worker.item_memory.config import WINDOW, MemoryConfig
from worker.item_memory.memory import ItemMemory, Occurrences


def warm_up() -> None:
    """Learn and find candidates once, with a memory of its own that is thrown away."""
    memory = ItemMemory(MemoryConfig(neighbours=1, recent=1, trending=1), 1)
    item, nothing = np.zeros(1, np.int32), np.full((1, WINDOW), -1, np.int32)
    now, yes = np.zeros(1, np.int64), np.ones(1, np.bool_)
    memory.learn(item, nothing, now, now)
    events = Occurrences(item, nothing, now, yes, item.reshape(1, 1), yes)
    memory.learn_and_collect(events, item.reshape(1, 1))
