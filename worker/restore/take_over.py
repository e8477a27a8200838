"""All that has to be there before the events of an assigned partition are processed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol


class Restorer(Protocol):
    """Brings back one kind of state for assigned partitions, a little at a time."""

    @property
    def pending(self) -> bool:
        """Whether partitions are not done yet."""
        ...

    def begin(self, partitions: Collection[int]) -> None:
        """Start with these partitions."""
        ...

    def abandon(self, partitions: Collection[int]) -> None:
        """Go no further with these: they are someone else's."""
        ...

    def step(self) -> list[int]:
        """Go on a little and return the partitions that are done now."""
        ...


class TakeOver:
    """Takes over partitions: each is done when every restorer is done with it.

    Args:
        restorers: at least one; they go on in turn.
    """

    def __init__(self, restorers: Sequence[Restorer]) -> None:
        self._restorers = restorers
        self._left: dict[int, int] = {}

    @property
    def pending(self) -> bool:
        """Whether partitions are not done yet."""
        return bool(self._left)

    def begin(self, partitions: Collection[int]) -> None:
        """Start with these partitions."""
        self._left.update(dict.fromkeys(partitions, len(self._restorers)))
        for restorer in self._restorers:
            restorer.begin(partitions)

    def abandon(self, partitions: Collection[int]) -> None:
        """Go no further with these: they are someone else's."""
        for partition in partitions:
            self._left.pop(partition, None)
        for restorer in self._restorers:
            restorer.abandon(partitions)

    def step(self) -> list[int]:
        """Go on a little and return the partitions that are done now.

        Raises:
            BrokerError: a topic cannot be read.
        """
        done = []
        for restorer in self._restorers:
            for partition in restorer.step() if restorer.pending else ():
                self._left[partition] -= 1
                if not self._left[partition]:
                    del self._left[partition]
                    done.append(partition)
        return done
