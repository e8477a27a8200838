"""Offsets and dead letters held back behind events whose answers are owed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from worker.coalescing.owed import Owed
from worker.stages.decode import DeadLetter, position


class HeldBack:
    """Says how far offsets may be committed, and which dead letters may be published with them.

    An event that is owed an answer is to be read again after a crash, and so are the records after
    it. Users' states say that those were applied, and item transitions that they were learned;
    nothing says that a dead letter was published. So it is when the offset passes it.

    Args:
        owed: whom an answer is owed.
    """

    def __init__(self, owed: Owed) -> None:
        self._owed = owed
        self._positions: dict[int, int] = {}
        """By partition, the offset of the next record to read."""
        self._letters: dict[int, list[DeadLetter]] = {}
        """By partition, those not published yet, in order."""

    def take_up(self, next_offsets: Mapping[int, int], letters: Sequence[DeadLetter]) -> None:
        """Take up what was read.

        Args:
            next_offsets: by partition the offset of the next record.
            letters: dead letters among the records, in order.
        """
        self._positions.update(next_offsets)
        for letter in letters:
            self._letters.setdefault(position(letter.message)[0], []).append(letter)

    def release(self) -> tuple[dict[int, int], list[DeadLetter]]:
        """Return by partition the offset to commit now, and the dead letters before it.

        These are given out once.
        """
        held = self._owed.held()
        offsets = {p: min(at, held.get(p, at)) for p, at in self._positions.items()}
        released: list[DeadLetter] = []
        for partition, letters in self._letters.items():
            ready = [one for one in letters if position(one.message)[1] < offsets[partition]]
            released += ready
            del letters[: len(ready)]
        return offsets, released

    def release_partitions(self, partitions: Iterable[int]) -> None:
        """Have no more to do with partitions that are someone else's: they read it all again."""
        for partition in partitions:
            self._positions.pop(partition, None)
            self._letters.pop(partition, None)
