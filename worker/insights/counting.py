"""Rounds of work on the partitions that this process has."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

import faust
from faust.types import TP

from schemas.codec import Codec
from schemas.settings import InsightsSettings
from worker.insights.audit import Audit
from worker.insights.faust_parts import DurableTable, Event, InsightsApp, in_partition
from worker.insights.incoming import Incoming, Side
from worker.insights.indicators import SumsTable
from worker.insights.metrics import InsightsMetrics
from worker.insights.partition import Partition, Rules, Work
from worker.insights.parts import IndicatorsPart, PartKey, decode_key, encode_indicators, encode_key
from worker.insights.privacy import Restrictions
from worker.insights.reading import EndCheck
from worker.insights.sweep import Sweep
from worker.insights.topics import InsightsTopics
from worker.insights.trends import DecayedCounts, decode_counts, encode_counts
from worker.insights.user_record import UserRecord, decode_user, encode_user
from worker.privacy.records import noted_request

_LOG = logging.getLogger(__name__)

_TURN = 200
"""Records between two turns of everything else that runs."""


class Counting:
    """From records to outcomes, users and counts.

    All state in memory is of one generation of the consumer group. When partitions move it is
    dropped, and read again from the tables, which Faust has restored by then.
    """

    def __init__(
        self,
        app: InsightsApp,
        topics: InsightsTopics,
        rules: Rules,
        settings: InsightsSettings,
        *,
        users: DurableTable,
        counts: DurableTable,
        outcomes: faust.TopicT,
        parts: faust.TopicT,
        codec: Codec,
        metrics: InsightsMetrics,
        restrictions: Restrictions | None = None,
        audit: Audit | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._app = app
        self._topics = topics
        self._rules = rules
        self._settings = settings
        self._users = users
        self._counts = counts
        self._outcomes = outcomes
        self._parts = parts
        self._codec = codec
        self._metrics = metrics
        self._restrictions = restrictions
        self._audit = audit
        self._now_ms = now_ms
        self._wait_ms = round(settings.join_wait_seconds * 1000)
        self._generation: int | None = None
        self._partitions: dict[int, Partition] = {}
        self._anchors: dict[int, Event] = {}
        self._unsent: set[PartKey] = set()
        self._early: list[Event] = []
        self._check = EndCheck(lambda: False, now_ms)
        self._sweep = Sweep(users, now_ms)

    async def round(
        self, take: Callable[[], list[Event]], queue_is_empty: Callable[[], bool]
    ) -> int:
        """Work on what was taken in; return how many records that were."""
        if not self._ready():
            return 0
        generation = self._app.consumer_generation_id
        if generation != self._generation:
            await self._begin(generation, queue_is_empty)
        if self._restrictions is not None:
            if not self._restrictions.complete:
                await asyncio.to_thread(self._restrictions.read_whole)
            self._restrictions.follow()
        events = [*self._early, *take()]
        self._distribute(events)
        with self._metrics.checkpoint_seconds.time():
            for partition in self._partitions.values():
                await self._work(partition)
                if self._moved():
                    return len(events)
        await self._look_for_ends()
        self._hold_back()
        self._sweep.some(self._partitions, self._anchors)
        return len(events)

    async def send_parts(self) -> None:
        """Tell who adds partitions up what has changed since the last time."""
        if not self._ready() or self._moved():
            return
        unsent, self._unsent = self._unsent, set()
        sent = []
        for key in sorted(unsent, key=encode_key):
            partition = self._partitions[key.partition]
            if key.surface is None:
                value = encode_indicators(IndicatorsPart.of(partition.totals))
            else:
                value = encode_counts(partition.counts[key.surface])
            sent.append(self._parts.send_soon(key=encode_key(key), value=value, partition=0))
        await asyncio.gather(*sent)

    def _ready(self) -> bool:
        return bool(self._app.tables.actives_ready) and not self._app.rebalancing

    def _moved(self) -> bool:
        """Return whether partitions moved since the round began; then all in memory is void."""
        if self._ready() and self._app.consumer_generation_id == self._generation:
            return False
        self._generation = None
        return True

    async def _begin(self, generation: int, queue_is_empty: Callable[[], bool]) -> None:
        """Read what the tables hold of the partitions that this process has now."""
        self._anchors.clear()
        self._check = EndCheck(queue_is_empty, self._now_ms)
        assigned = self._app.consumer.assignment()
        owned = {tp.partition for tp in assigned if tp.topic == self._topics.clickstream}
        counts: dict[int, dict[str, DecayedCounts]] = {number: {} for number in owned}
        for raw, value in list(self._counts.items()):
            key = decode_key(raw)
            if key.partition in owned and key.surface is not None:
                counts[key.partition][key.surface] = decode_counts(value)
        self._partitions = {
            number: Partition(
                number,
                self._rules,
                load_user=self._load_user,
                counts=counts[number],
                totals=SumsTable(),
                wait_ms=self._wait_ms,
            )
            for number in sorted(owned)
        }
        known = 0
        for number, value in enumerate(list(self._users.values())):
            user = decode_user(value)
            if user.partition in owned:
                known += 1
                self._partitions[user.partition].know(user)
            if number % _TURN == 0:
                await asyncio.sleep(0)
        # A part may not have been sent before the last owner ended.
        self._unsent = {PartKey(number) for number in owned}
        self._unsent |= {PartKey(n, surface) for n in owned for surface in counts[n]}
        self._generation = generation
        self._sweep = Sweep(self._users, self._now_ms)
        _LOG.info("%d partitions with %d users", len(owned), known)

    def _load_user(self, user_id: str) -> UserRecord | None:
        value = self._users.get(user_id.encode())
        return None if value is None else decode_user(value)

    def _distribute(self, events: Iterable[Event]) -> None:
        read_ms = self._now_ms()
        self._early = []
        for event in events:
            message = event.message
            if message.generation_id != self._generation:
                # Those from before the latest rebalance come again; those after it do not.
                if message.generation_id == self._app.consumer_generation_id:
                    self._early.append(event)
                continue
            partition = self._partitions.get(message.partition)
            if partition is None:
                continue
            self._anchors[message.partition] = event
            record = Incoming(
                offset=message.offset,
                record_ms=round(message.timestamp * 1000),
                read_ms=read_ms,
                key=message.key or b"",
                value=message.value,
                source=event,
                request=noted_request(message.headers) if message.value is None else None,
            )
            if message.topic == self._topics.clickstream:
                partition.buffer.events.add(record)
            else:
                partition.buffer.recommendations.add(record)

    async def _work(self, partition: Partition) -> None:
        """Apply, and write, and acknowledge, one after the other."""
        anchor = self._anchors.get(partition.number)
        if anchor is None:
            return  # no record of it was read yet
        work = Work()
        late = partition.buffer.late
        for number, _ in enumerate(self._steps(partition, work, anchor)):
            if number % _TURN == 0:
                await asyncio.sleep(0)
        if not work.sources:
            return
        if self._moved():
            return
        await self._send_outcomes(partition.number, work)
        if self._moved():
            return
        self._write(partition, work, anchor)
        await self._users.durable()
        await self._counts.durable()
        if self._moved():
            return
        if self._audit is not None:
            await self._audit.tell(partition.number, work.erasures)
        for source in work.sources:
            source.ack()
        self._metrics.count(work, partition.buffer.late - late)

    def _steps(self, partition: Partition, work: Work, anchor: Event) -> Iterable[None]:
        steps = iter(partition.steps(work))
        while True:
            with in_partition(anchor):  # users are loaded from the partition's table
                if next(steps, self) is self:
                    return
            yield

    async def _send_outcomes(self, number: int, work: Work) -> None:
        sent = [
            self._outcomes.send_soon(
                key=outcome.user_id.encode(),
                value=self._codec.encode(self._topics.outcomes, outcome),
                partition=number,
            )
            for outcome in work.outcomes
        ]
        await asyncio.gather(*sent)

    def _write(self, partition: Partition, work: Work, anchor: Event) -> None:
        with in_partition(anchor):
            for user_id, user in work.users.items():
                key = user_id.encode()
                if not user.is_blank:
                    self._users[key] = encode_user(user)
                elif self._users.get(key) is not None:
                    del self._users[key]  # erased
            for surface in work.surfaces:
                part = PartKey(partition.number, surface)
                self._counts[encode_key(part)] = encode_counts(partition.counts[surface])
                self._unsent.add(part)
        if work.users:
            self._unsent.add(PartKey(partition.number))

    async def _look_for_ends(self) -> None:
        """See whether what waits waits for records that there are not."""
        sides = {
            TP(topic, number): other
            for number, partition in self._partitions.items()
            for topic, this, other in self._sides(partition)
            if this.records
        }
        for tp, complete_ms in (await self._check.look(self._app.consumer, sides)).items():
            sides[tp].complete_until(complete_ms)

    def _sides(self, partition: Partition) -> tuple[tuple[str, Side, Side], ...]:
        """Return, for each topic, the side that waits for it, and its own."""
        events, lists = partition.buffer.events, partition.buffer.recommendations
        return (
            (self._topics.recommendations, events, lists),
            (self._topics.clickstream, lists, events),
        )

    def _hold_back(self) -> None:
        """Stop fetching a topic's partition where too many of its records wait for the other's.

        Faust's own way when a queue is full. Pausing a partition instead would drop records that
        were fetched already.
        """
        waiting = 0
        for number, partition in self._partitions.items():
            waiting += len(partition.buffer.events.records)
            for topic, _, own in self._sides(partition):
                if len(own.records) > self._settings.pending_records:
                    self._app.consumer.on_buffer_full(TP(topic, number))
                elif len(own.records) < self._settings.pending_records / 2:
                    self._app.consumer.on_buffer_drop(TP(topic, number))
        self._metrics.pending.set(waiting)
