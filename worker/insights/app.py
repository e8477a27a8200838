"""The Faust app: agents that take records in, and rounds that work on them.

An agent only puts records into a list. A round takes the list, applies what can be applied, and
then, each step once the one before is acknowledged by the brokers: outcomes, tables, the records
themselves. So a process killed anywhere leaves behind either a record that will be read again, or a
table that has it and knows that it has.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import faust
from faust.streams import Stream
from faust.types import StreamT

from schemas.clickstream import ClickstreamEvent
from schemas.codec import Codec, build_codec
from schemas.recommendations import Recommendation
from schemas.settings import Settings
from worker.insights.attribution import AttributionRule
from worker.insights.audit import Audit
from worker.insights.counting import Counting
from worker.insights.faust_parts import DurableTable, Event, InsightsApp
from worker.insights.kafka_properties import faust_options
from worker.insights.metrics import UNKNOWN_ACTION, InsightsMetrics, PrivacyResult
from worker.insights.partition import Rules
from worker.insights.privacy import Restrictions
from worker.insights.publication import Publication
from worker.insights.sampling import UserSample
from worker.insights.store import store_url
from worker.insights.topics import InsightsTopics
from worker.insights.trends import Decay

_LOG = logging.getLogger(__name__)

_RAW: dict[str, Any] = {
    "key_type": bytes,
    "value_type": bytes,
    "key_serializer": "raw",
    "value_serializer": "raw",
    "allow_empty": True,
}
_CONSUMER_DEFAULTS: dict[str, Any] = {
    "consumer_auto_offset_reset": "earliest",
    # How long a partition that was added, or not known to whom the group assigned by, is unread.
    "consumer_metadata_max_age_ms": 30_000,
}
_INBOX = 20_000
"""Records taken in between two rounds; then the agent waits for the next round."""


def now_ms() -> int:
    """Return the time, milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class Inbox:
    """What an agent took in and no round has taken out yet."""

    def __init__(self) -> None:
        self.stream: Stream[bytes] | None = None
        self._events: list[Event] = []
        self._full = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def put(self, event: Event) -> None:
        """Take an event in; waits where there are too many."""
        self._events.append(event)
        if len(self._events) >= _INBOX:
            self._room.clear()
            self._full.set()
            await self._room.wait()

    def take(self) -> list[Event]:
        """Return what was taken in since the last time."""
        events, self._events = self._events, []
        self._full.clear()
        self._room.set()
        return events

    async def wait(self, most_s: float) -> None:
        """Wait so long, or until it is full."""
        try:
            await asyncio.wait_for(self._full.wait(), most_s)
        except TimeoutError:
            return

    def stream_is_empty(self) -> bool:
        """Return whether Faust has nothing for the agent, and it waits for no round."""
        queue = getattr(getattr(self.stream, "channel", None), "queue", None)
        return self._room.is_set() and queue is not None and queue.empty()


def make_rules(settings: Settings, codec: Codec, restrictions: Restrictions | None = None) -> Rules:
    """Return the rules that the settings, and users, ask for."""
    insights = settings.insights
    return Rules(
        attribution=AttributionRule(
            window_ms=insights.window_seconds * 1000,
            recommendations_per_user=insights.recommendations_per_user,
            click_types=frozenset(insights.click_types),
            days=insights.indicator_days,
        ),
        sample=UserSample(insights.sample_rate),
        decay=Decay(insights.trending_half_life_seconds * 1000, insights.trending_capacity),
        most_surfaces=insights.trending_surfaces,
        max_future_ms=settings.worker.max_future_seconds * 1000,
        event_of=codec.decoder(ClickstreamEvent),
        recommendation_of=codec.decoder(Recommendation),
        **({} if restrictions is None else {"barred_until": restrictions.until}),
    )


def build_app(
    settings: Settings,
    topics: InsightsTopics,
    metrics: InsightsMetrics,
    progress: Callable[[int], None],
) -> InsightsApp:
    """Return the app, ready to be run by `faust.Worker`.

    Args:
        settings: of innerloop.
        topics: on the brokers.
        metrics: written to.
        progress: told how many records every round took in.

    Raises:
        SettingsError: a Kafka property has no counterpart in Faust's client, or the store is not
            installed.
    """
    insights = settings.insights
    app = InsightsApp(
        insights.group_id,
        autodiscover=False,
        datadir=Path(insights.folder),
        store=store_url(insights.store),
        topic_partitions=topics.partitions,
        topic_replication_factor=settings.kafka.replication_factor,
        topic_disable_leader=True,
        table_standby_replicas=0,
        stream_wait_empty=False,
        web_enabled=False,
        worker_redirect_stdouts=False,
        **{**_CONSUMER_DEFAULTS, **faust_options(settings.kafka)},
    )
    codec = build_codec(settings.wire)
    restrictions = _restrictions(settings, topics, metrics)
    rules = make_rules(settings, codec, restrictions)
    sources = app.topic(topics.clickstream, topics.recommendations, internal=False, **_RAW)
    parts = app.topic(topics.parts, internal=True, partitions=1, compacting=True, **_RAW)
    counting = Counting(
        app,
        topics,
        rules,
        insights,
        users=_table(app, "users", topics.users, topics.partitions),
        counts=_table(app, "counts", topics.counts, topics.partitions),
        outcomes=app.topic(topics.outcomes, internal=False, **_RAW),
        parts=parts,
        codec=codec,
        metrics=metrics,
        restrictions=restrictions,
        audit=_audit(app, settings, topics, codec),
    )
    publication = Publication(
        app,
        topics,
        rules.decay,
        insights,
        table=_table(app, "totals", topics.totals, 1),
        trending=app.topic(topics.trending, internal=False, **_RAW),
        codec=codec,
        metrics=metrics,
    )
    _schedule(app, sources, counting, insights.checkpoint_seconds, progress)
    _schedule_publication(app, parts, counting, publication, insights.trending_interval_seconds)
    return app


def _schedule(
    app: InsightsApp,
    sources: faust.TopicT,
    counting: Counting,
    interval_s: float,
    progress: Callable[[int], None],
) -> None:
    inbox = Inbox()

    async def read(stream: StreamT[bytes]) -> None:
        inbox.stream = cast(Stream[bytes], cast(Stream[bytes], stream).noack())
        async for event in inbox.stream.events():
            await inbox.put(event)

    async def work() -> None:
        while not app.should_stop:
            await inbox.wait(interval_s)
            progress(await counting.round(inbox.take, inbox.stream_is_empty))

    app.agent(sources, name="insights-sources")(read)
    app.task(work)


def _schedule_publication(
    app: InsightsApp,
    parts: faust.TopicT,
    counting: Counting,
    publication: Publication,
    interval_s: float,
) -> None:
    inbox = Inbox()

    async def add_up(stream: StreamT[bytes]) -> None:
        unacknowledged = cast(Stream[bytes], cast(Stream[bytes], stream).noack())
        async for event in unacknowledged.events():
            await inbox.put(event)

    async def publish() -> None:
        await counting.send_parts()
        await publication.round(inbox.take)

    app.agent(parts, name="insights-parts")(add_up)
    app.timer(interval_s)(publish)


def _restrictions(
    settings: Settings, topics: InsightsTopics, metrics: InsightsMetrics
) -> Restrictions | None:
    if not topics.has_privacy:
        return None
    invalid = metrics.privacy_requests.labels(UNKNOWN_ACTION, PrivacyResult.INVALID.value)
    return Restrictions.of(settings, topics.partitions, invalid.inc)


def _audit(
    app: InsightsApp, settings: Settings, topics: InsightsTopics, codec: Codec
) -> Audit | None:
    if topics.audit is None:
        return None
    group = settings.insights.group_id
    member = str(settings.kafka.consumer_properties.get("group.instance.id", group))
    topic = app.topic(topics.audit, internal=False, **_RAW)
    return Audit(topic, topics.audit, member, codec)


def _table(app: InsightsApp, name: str, topic: str, partitions: int) -> DurableTable:
    # RocksDB's own defaults are 2 GiB of cache for each partition of each table.
    options = {"block_cache_size": 32 * 2**20, "write_buffer_size": 16 * 2**20}
    table = DurableTable(
        app,
        name=f"insights-{name}",
        topic=topic,
        partitions=partitions,
        options=options if app.conf.store.scheme == "rocksdb" else None,
    )
    app.tables.add(table)
    return table
