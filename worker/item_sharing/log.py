"""How far each partition's transitions are known, and the blocks that are still to be published."""

from __future__ import annotations

from dataclasses import dataclass, field

from schemas.codec import encode_transitions
from schemas.item_transitions import (
    BLOCK_OFFSETS,
    LAYOUT_VERSION,
    ItemTransition,
    ItemTransitions,
)
from worker.item_sharing.records import record_key
from worker.stages.publish import OutgoingRecord
from worker.state.user_columns import NO_OFFSET


@dataclass(slots=True)
class _Partition:
    epoch: int = 0
    last: int = NO_OFFSET
    """Offset in `clickstream` of the latest transition known."""
    events: list[ItemTransition] = field(default_factory=list)
    """Of the open block: the one of `last`."""
    changed: bool = False
    """Whether the open block has events not yet published."""

    @property
    def block(self) -> int:
        return self.last // BLOCK_OFFSETS


class TransitionLog:
    """This worker's view of `item-transitions`, for all partitions, whoever writes them.

    For every partition it knows the offset of the last transition and the whole block that it is
    in. So an event is learned once, whether it was processed here, read from another worker, or is
    processed here again after a crash; and a partition that comes to this worker is gone on with
    where its last owner left off, in the middle of a block.

    Args:
        topic: full name of `item-transitions`.
        partitions: how many `clickstream` has.
        events: offsets of each partition that the topic is to keep, at least a block.
    """

    def __init__(self, topic: str, partitions: int, events: int) -> None:
        self._topic = topic
        self._ring = max(1, events // BLOCK_OFFSETS)
        self._partitions = [_Partition() for _ in range(partitions)]
        self._full: list[OutgoingRecord] = []

    def last_offset(self, partition: int) -> int:
        """Return the `clickstream` offset of the latest transition known; −1 if there is none."""
        return self._partitions[partition].last

    def add(self, partition: int, event: ItemTransition) -> None:
        """Take up an event processed here, beyond `last_offset`; `records` will publish it."""
        part = self._partitions[partition]
        if event.offset // BLOCK_OFFSETS != part.block:
            if part.changed:
                self._full.append(self._record(partition))
            part.events = []
        part.events.append(event)
        part.last = event.offset
        part.changed = True

    def merge(self, record: ItemTransitions) -> list[ItemTransition]:
        """Take over a block that was read from the topic and return the events not known before."""
        part = self._partitions[record.partition]
        if record.epoch < part.epoch:
            return []
        if record.epoch > part.epoch:
            self._restart(record.partition, record.epoch)
            part = self._partitions[record.partition]
        new = [event for event in record.events if event.offset > part.last]
        if not new:
            return []
        if record.block == part.block:
            part.events += new
        else:
            part.events = list(record.events)
        part.last = new[-1].offset
        return new

    def restart(self, partition: int) -> None:
        """Begin anew with a partition of `clickstream` whose offsets have begun again.

        What was learned stays learned. The other workers follow with the first record.
        """
        self._restart(partition, self._partitions[partition].epoch + 1)

    def records(self) -> list[OutgoingRecord]:
        """Return the blocks with events added since the last call, as they are now, in order."""
        records, self._full = self._full, []
        for number, part in enumerate(self._partitions):
            if part.changed:
                records.append(self._record(number))
                part.changed = False
        return records

    def _restart(self, partition: int, epoch: int) -> None:
        self._partitions[partition] = _Partition(epoch)

    def _record(self, partition: int) -> OutgoingRecord:
        part = self._partitions[partition]
        block = ItemTransitions(
            version=LAYOUT_VERSION,
            partition=partition,
            epoch=part.epoch,
            block=part.block,
            events=part.events,
        )
        key = record_key(partition, part.block, self._ring)
        return OutgoingRecord(self._topic, partition, key, encode_transitions(block))
