"""What Faust needs to be told, or to be kept from, so that nothing is lost or counted twice.

Each class is here for one behaviour of faust-streaming 0.15, named in its docstring; what was
measured of each is in docs/decisions/0018-insights-on-faust.md.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import faust
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import ConsumerStoppedError
from faust.streams import _current_event
from faust.transport.consumer import RecordMap
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, AgentT, CodecArg, EventT, FutureMessage, Message

Event = EventT[bytes]
"""A record whose key and value are bytes."""

_POLL_S = 0.02
"""How often to look whether records have come, seconds."""


class _CommittedThread(driver.AIOKafkaConsumerThread):
    """Reads committed records only, and takes none while partitions are moved.

    Faust does the first with `processing_guarantee="exactly_once"` alone, which also writes in
    transactions of its own; the recommendations of transactions that were aborted must not be
    read in any case. The second it means to do, but what it asks of aiokafka goes on across a
    rebalance, and asks for all partitions once all are paused: such records are taken off the new
    assignment and thrown away.
    """

    _moving = False

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        ours = self.consumer.in_transaction
        self.consumer.in_transaction = True
        try:
            return super()._create_worker_consumer(transport)
        finally:
            self.consumer.in_transaction = ours

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Take nothing until the new assignment is known everywhere."""
        self._moving = True
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Pass it on; from then on, what flow control lets through is of this assignment."""
        try:
            await super().on_partitions_assigned(assigned, generation_id)
        finally:
            self._moving = False

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,
        max_records: int | None = None,
    ) -> RecordMap:
        fetcher = consumer._fetcher
        deadline = time.monotonic() + (timeout or 0.0)
        with fetcher._subscriptions.fetch_context():
            while self.consumer.flow_active:
                if consumer._closed or fetcher._closed:
                    raise ConsumerStoppedError
                # A copy, for another thread changes the set. Without a timeout nothing is awaited
                # in between, and so no assignment comes in between.
                wanted = frozenset(active_partitions)
                settled = not self._moving and not fetcher._subscriptions.reassignment_in_progress
                if wanted and settled:
                    found: RecordMap = await fetcher.fetched_records(wanted, 0, max_records)
                    if found:
                        return found
                if time.monotonic() >= deadline:
                    break
                await asyncio.sleep(_POLL_S)
        return {}


class _CarefulConsumer(driver.Consumer):
    """Works on every record that comes after what is committed, and commits only such.

    When partitions have moved, and tables are restored, Faust resumes the sources, then seeks them
    to what is committed, then empties the agents' queues. Records that come in between are lost,
    for nothing is sought where nothing was committed yet. Here sources are resumed last.

    While partitions are moved Faust skips the records that were fetched before, and acknowledges
    them: committed later, they would never be worked on. And it takes acknowledgements in any
    order, with a list of the offsets in between that hold no record, such as transactions' markers;
    at each of those a commit ends, so where transactions are written commits fall behind, by more
    and more. Here all records of a partition are acknowledged in their order.
    """

    def _new_consumer_thread(self) -> _CommittedThread:
        return _CommittedThread(self, loop=self.loop, beacon=self.beacon)

    def _reset_state(self) -> None:
        super()._reset_state()
        self._sources: set[TP] = set()
        """Those to be resumed with the flow."""

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let nothing come any more; Faust omits that where there were no partitions so far."""
        self.stop_flow()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Forget what the restoring of the last generation may have resumed since."""
        self.stop_flow()
        self._sources.clear()
        await super().on_partitions_assigned(assigned, generation_id)

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Let records of tables come, and those of sources when flow is resumed."""
        resumed = set(tps)
        sources = {tp for tp in resumed if not self._is_changelog_tp(tp)}
        self._sources |= sources
        super().resume_partitions(resumed - sources)

    def resume_flow(self) -> None:
        """Let records come."""
        super().resume_partitions(self._sources)
        self._sources.clear()
        super().resume_flow()

    def ack(self, message: Message) -> bool:
        """Mark a message as done, unless it is from before the latest rebalance."""
        current = message.generation_id == self.app.consumer_generation_id
        if not current or not self.app.flow_control.is_active():
            return False
        return bool(super().ack(message))

    def _new_offset(self, tp: TP) -> int | None:
        acknowledged = self._acked[tp]
        if not acknowledged:
            return None
        latest = max(acknowledged)
        acknowledged.clear()
        self._acked_index[tp].clear()
        return latest + 1

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: no list of offsets without a record is needed."""


class _Transport(driver.Transport):
    Consumer = _CarefulConsumer


class InsightsApp(faust.App):
    """An app that ends where it cannot go on.

    Faust restarts an agent that raised and goes on with the next record; here nothing may be
    skipped, so the process ends with the error.
    """

    def _new_transport(self) -> driver.Transport:
        return _Transport(self.conf.broker_consumer, self)

    async def _on_agent_error(self, agent: AgentT[Any], exc: BaseException) -> None:
        await self.crash(exc)


class DurableTable(faust.Table[bytes, bytes]):
    """A table of bytes that tells when what was written is in its changelog.

    Faust writes the changelog in the background; where that fails it logs a warning and commits the
    source's offsets all the same.
    """

    def __init__(
        self,
        app: faust.App,
        *,
        name: str,
        topic: str,
        partitions: int,
        options: dict[str, int] | None,
    ) -> None:
        self._topic = topic
        self._written: list[FutureMessage] = []
        super().__init__(
            app, name=name, partitions=partitions, options=options, key_type=bytes, value_type=bytes
        )

    def _changelog_topic_name(self) -> str:
        return self._topic

    def send_changelog(
        self,
        partition: int | None,
        key: bytes,
        value: bytes | None,
        key_serializer: CodecArg = None,
        value_serializer: CodecArg = None,
    ) -> FutureMessage:
        """Send a change to the changelog, and remember it."""
        future = super().send_changelog(partition, key, value, key_serializer, value_serializer)
        self._written.append(future)
        return future

    async def durable(self) -> None:
        """Wait until the brokers have acknowledged every change so far.

        Raises:
            KafkaError: they have not, for one of them.
        """
        written, self._written = self._written, []
        if written:
            await asyncio.gather(*written)


@contextmanager
def in_partition(event: Event) -> Iterator[None]:
    """Write to tables as if this event was being worked on: into its partition.

    Faust finds a table's partition by the event that the running task is at, and has none in a
    timer, or after `stream.take()`.
    """
    token = _current_event.set(weakref.ref(cast(Any, event)))
    try:
        yield
    finally:
        _current_event.reset(token)
