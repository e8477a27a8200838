"""An item memory that remembers what it was taught, word for word."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from worker.catalogue import Catalogue
from worker.item_memory.interface import NOTHING_KNOWN, WINDOW, MemorySource
from worker.model.interface import NO_ITEM


class Lesson(NamedTuple):
    item: str
    before: tuple[str, ...]
    type: int
    time: int


class RecordingLearner:
    """Remembers lessons by item ids, as rows may differ from worker to worker."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self.lessons: list[Lesson] = []
        self.forgotten: list[str] = []

    def learn(self, items, before, types, times) -> None:
        n = len(items)
        assert n > 0
        assert (items.dtype, items.shape) == (np.int32, (n,))
        assert (before.dtype, before.shape) == (np.int32, (n, WINDOW))
        assert (types.dtype, times.dtype) == (np.int64, np.int64)
        ids = self._catalogue.item_ids
        for item, rows, kind, time in zip(items, before.tolist(), types, times, strict=True):
            known = [row for row in rows if row != NO_ITEM]
            assert rows == known + [NO_ITEM] * (WINDOW - len(known)), "a gap before the padding"
            lesson = Lesson(ids[item], tuple(ids[r] for r in known), int(kind), int(time))
            self.lessons.append(lesson)

    def forget_row(self, row: int) -> None:
        self.forgotten.append(self._catalogue.item_ids[row])

    @property
    def counts(self) -> Counter[Lesson]:
        return Counter(self.lessons)


def recording(since_ms: int = NOTHING_KNOWN) -> MemorySource:
    return MemorySource(RecordingLearner, since_ms)
