"""An item memory that remembers what it was taught, word for word."""

from typing import NamedTuple

import numpy as np

from worker.catalogue import Catalogue
from worker.item_memory.config import WINDOW
from worker.item_sharing.interface import NOTHING_KNOWN, MemorySource
from worker.rows import NO_ITEM


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


class Recorder:
    """The memory of one worker, from outside."""

    def __init__(self, since_ms: int = NOTHING_KNOWN) -> None:
        self.source = MemorySource(self._open, since_ms)
        self._learner: RecordingLearner | None = None

    @property
    def lessons(self) -> list[Lesson]:
        return [] if self._learner is None else list(self._learner.lessons)

    @property
    def forgotten(self) -> list[str]:
        return [] if self._learner is None else list(self._learner.forgotten)

    def _open(self, catalogue: Catalogue) -> RecordingLearner:
        assert self._learner is None, "opened twice"
        self._learner = RecordingLearner(catalogue)
        return self._learner


def recording(since_ms: int = NOTHING_KNOWN) -> MemorySource:
    return MemorySource(RecordingLearner, since_ms)
