"""What a worker asks of the way its results are delivered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from worker.metrics import Rebalance
from worker.stages.publish import OutgoingRecord


class Delivery(Protocol):
    """Takes the records and the offsets of micro-batches; `worker.session` says when."""

    def start(self) -> None:
        """Get ready. To be called once, before the first record."""
        ...

    def on_visible(self, visible: Callable[[int], None]) -> None:
        """Have this called when answers of micro-batches become visible: with how many these are.

        The oldest ones do first. It may be called in another thread.
        """
        ...

    @property
    def due_s(self) -> float:
        """Seconds until something should be looked after, with `settle`; infinite if nothing is."""
        ...

    def polled(self) -> None:
        """Take note that the clickstream was polled and all callbacks of the group were served."""
        ...

    def publish(self, records: Sequence[OutgoingRecord]) -> None:
        """Take over records of the micro-batch under way."""
        ...

    def take_up(self, requests: Mapping[int, int]) -> None:
        """Take over offsets of `privacy`, by partition, to be committed with the micro-batch."""
        ...

    def commit(self, next_offsets: Mapping[int, int]) -> None:
        """End a micro-batch: by partition the offset of the next record to process."""
        ...

    def settle(self, *, more: bool) -> None:
        """Bring to an end what is open.

        Args:
            more: whether more records are waiting, so that it may be put off for a while.
        """
        ...

    def give_up(self, how: Rebalance) -> None:
        """Bring to an end what is open: partitions are going, or are gone. Raises nothing."""
        ...

    def close(self) -> bool:
        """Bring to an end what is complete, and drop what is not.

        Returns:
            Whether everything that was published is delivered.
        """
        ...
