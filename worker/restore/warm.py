"""Going on with the users that this worker kept in its state folder when it was last stopped.

What is kept of a partition is level with `user-state` up to an offset. That offset is asked for
when everything is delivered, and before it is made sure that the partition is still this worker's:
then nobody else can have written what comes before it. A worker that is given the partition again
reads the changelog from there on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection

from msgspec.structs import replace

from schemas.errors import BrokerError, StateStoreError
from schemas.settings import Settings
from schemas.topics import Topic
from worker.restore.broker_facts import BrokerFacts
from worker.rollout.arms import Arms
from worker.state.disk_store import DiskStore
from worker.state.snapshot import Stamp
from worker.topic_reader import PartitionReader

_LOG = logging.getLogger(__name__)

_TELL_TIMEOUT_S = 10.0
_HOLD_S = 3600.0
"""So long, seconds, a partition that was kept may take to be assigned again."""
_LEAVING_AT_ONCE = 4096
"""Users put into the store at a time."""


class WarmRestart:
    """Keeps users at the end, and finds them at the start.

    Args:
        store: of the users; what it holds at the start is what was kept.
        reader: of `user-state`, to ask for offsets.
        facts: of the brokers.
        settings: name the topics.
        now_ms: the clock, milliseconds since the epoch.
    """

    def __init__(
        self,
        store: DiskStore,
        reader: PartitionReader,
        facts: BrokerFacts,
        settings: Settings,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._reader = reader
        self._facts = facts
        self._now_ms = now_ms
        self._states = settings.kafka.topic(Topic.USER_STATE)
        self._clickstream = settings.kafka.topic(Topic.CLICKSTREAM)
        self._until = time.monotonic() + _HOLD_S
        self._topics: dict[str, str] | None = None
        self._stamp: Stamp | None = None

    def start(self) -> None:
        """Ask which topics these are; nothing is kept at the end if they are others by then."""
        try:
            self._topics = self._facts.topics([self._states, self._clickstream]).ids
        except BrokerError as error:
            _LOG.warning("no users will be kept for a warm restart: %s", error)

    def resume(self, partitions: Collection[int]) -> dict[int, int]:
        """Take the users of partitions from what was kept, as far as they are of use.

        Returns:
            The offset of `user-state` to read on from, by partition; the others are to be read
            whole.

        Raises:
            StateStoreError: the folder cannot be read or written.
        """
        kept = self._store.kept
        if kept is None or not (found := kept.next_offsets.keys() & set(partitions)):
            return {}
        flaw = self._flaw(kept)
        offsets: dict[int, int] = {}
        for partition in sorted(found):
            offset = kept.next_offsets[partition]
            reason = flaw or self._out_of_range(partition, offset)
            if reason:
                _LOG.warning("partition %d: users kept are not used: %s", partition, reason)
                self._store.discard(partition)
            else:
                users = self._store.adopt(partition)
                _LOG.info(
                    "partition %d: %d users were kept, their changes are read from offset %d on",
                    partition,
                    users,
                    offset,
                )
                offsets[partition] = offset
        return offsets

    def tidy_up(self) -> None:
        """Remove what was kept of partitions that were not assigned for an hour."""
        if self._store.kept is not None and time.monotonic() > self._until:
            for partition in self._store.kept.next_offsets:
                self._store.discard(partition)

    def mark(
        self,
        member: str,
        partitions: Collection[int],
        serve_callbacks: Callable[[], Collection[int]],
    ) -> None:
        """Note up to where the changelog is level with memory, all being delivered.

        Args:
            member: id of the group's member.
            partitions: whose users are all there.
            serve_callbacks: serves what the group has to say and returns what is left of them.
        """
        if self._topics is None or not partitions:
            return
        try:
            ends = {p: self._end(p) for p in partitions}
            # From here on: whoever else wrote before those ends had these partitions before this
            # worker got them, as it has had them ever since.
            ours = self._facts.assigned(member, self._clickstream) & set(serve_callbacks())
            topics = self._facts.topics([self._states, self._clickstream]).ids
        except BrokerError as error:
            _LOG.warning("no users are kept for a warm restart: %s", error)
            return
        if topics != self._topics:
            _LOG.warning("no users are kept for a warm restart: topics were made anew")
            return
        if missing := sorted(set(partitions) - ours):
            _LOG.info("users of partitions %s are not kept: the group is rebalancing", missing)
        self._stamp = Stamp(topics, self._now_ms(), {p: ends[p] for p in sorted(ours & set(ends))})

    def keeps(self, partition: int, *, lost: bool) -> bool:
        """Tell whether the users of a partition that is given up are to stay, to be kept.

        Args:
            partition: given up.
            lost: whether somebody else may have had it already.
        """
        if self._stamp is None or partition not in self._stamp.next_offsets:
            return False
        if lost:
            rest = {p: at for p, at in self._stamp.next_offsets.items() if p != partition}
            self._stamp = replace(self._stamp, next_offsets=rest)
        return not lost

    def save(self, arms: Arms) -> None:
        """Put all users into the store, which keeps those of the partitions marked."""
        if self._stamp is None or not self._stamp.next_offsets:
            return
        try:
            for arm in arms.canonical():
                while len(arm.arena):
                    arm.users.send_out(arm.arena.take_longest_away(_LEAVING_AT_ONCE))
        except StateStoreError as error:  # such as a full disk; the changelog has it all
            _LOG.warning("no users are kept for a warm restart: %s", error)
        else:
            self._store.keep(self._stamp)

    def _flaw(self, kept: Stamp) -> str:
        try:
            facts = self._facts.topics([self._states, self._clickstream])
        except BrokerError as error:
            return str(error)
        if facts.ids != kept.topics:
            return "topics were made anew since"
        age_ms = self._now_ms() - kept.saved_ms
        if not 0 <= age_ms <= facts.tombstones_ms / 2:
            return (
                f"they were kept {age_ms / 1000:.0f} s ago, and null values may be gone from "
                f"{self._states} after {facts.tombstones_ms / 2000:.0f} s"
            )
        return ""

    def _out_of_range(self, partition: int, offset: int) -> str:
        try:
            held = self._reader.offsets(self._states, partition, _TELL_TIMEOUT_S)
        except BrokerError as error:
            return str(error)
        if held.start <= offset <= held.stop:
            return ""
        return (
            f"the changelog's offsets go from {held.start} to {held.stop}, so that it cannot be "
            f"read on from {offset}"
        )

    def _end(self, partition: int) -> int:
        return self._reader.end_offset(self._states, partition, _TELL_TIMEOUT_S)
