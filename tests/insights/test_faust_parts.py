"""No record of a source is taken before all is in place for it to be worked on."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from aiokafka.errors import (
    IllegalStateError,
    KafkaError,
    NotLeaderForPartitionError,
    TopicAuthorizationFailedError,
)
from faust.types import TP

from worker.insights.faust_parts import DurableTable, InsightsApp
from worker.insights.reading import EndCheck

SOURCE, OTHER = TP("clickstream", 0), TP("clickstream", 1)
CHANGELOG = TP("insights-users", 0)


@pytest.fixture
def consumer(tmp_path):
    app = InsightsApp("test", store="memory://", datadir=tmp_path, web_enabled=False)
    app.tables.add(
        DurableTable(app, name="users", topic="insights-users", partitions=2, options={})
    )
    return app.consumer


def test_sources_are_resumed_with_the_flow_and_tables_at_once(consumer):
    consumer.stop_flow()
    consumer.resume_partitions({SOURCE, OTHER, CHANGELOG})
    assert consumer._get_active_partitions() == {CHANGELOG}
    assert not consumer.flow_active
    consumer.resume_flow()
    assert consumer._get_active_partitions() == {SOURCE, OTHER, CHANGELOG}
    assert consumer.flow_active


def test_what_another_generation_resumed_is_forgotten(consumer, monkeypatch):
    told = []

    async def on_assigned(assigned, generation_id):
        told.append((consumer.flow_active, generation_id))

    monkeypatch.setattr(consumer, "_on_partitions_assigned", on_assigned)
    monkeypatch.setattr(consumer.app, "on_rebalance_return", lambda: None)
    consumer.resume_partitions({SOURCE, OTHER})
    consumer.pause_partitions({SOURCE})
    asyncio.run(consumer.on_partitions_assigned({SOURCE}, 7))
    assert told == [(False, 7)]
    consumer.resume_flow()
    assert OTHER not in consumer._get_active_partitions()


class Fetcher:
    """What aiokafka's fetcher is asked for, and what it is asked while."""

    def __init__(self) -> None:
        self.asked: list[frozenset[TP]] = []
        self._closed = False
        self._subscriptions = self
        self.reassignment_in_progress = False

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def fetch_context(self):
        return self

    async def fetched_records(self, partitions, timeout, max_records):
        self.asked.append(partitions)
        return {tp: ["record"] for tp in partitions}


@pytest.mark.parametrize("hindrance", ["none", "no flow", "moving", "reassignment", "all paused"])
def test_records_are_asked_for_of_active_partitions_alone_and_not_while_they_move(
    consumer, hindrance
):
    thread, fetcher = consumer._thread, Fetcher()
    client = SimpleNamespace(_fetcher=fetcher, _closed=False)
    consumer.flow_active = hindrance != "no flow"
    thread._moving = hindrance == "moving"
    fetcher.reassignment_in_progress = hindrance == "reassignment"
    active = set() if hindrance == "all paused" else {SOURCE}
    found = asyncio.run(thread._fetch_records(client, active, 0.05, 100))
    assert found == ({SOURCE: ["record"]} if hindrance == "none" else {})
    assert fetcher.asked == ([{SOURCE}] if hindrance == "none" else [])


class Ends:
    """A consumer that has read a partition to its end, and is in trouble for a while."""

    def __init__(self) -> None:
        self.trouble: list[KafkaError] = []

    async def highwaters(self, *partitions):
        return dict.fromkeys(partitions, 5)

    async def position(self, _):
        if self.trouble:
            raise self.trouble.pop()
        return 5


def test_partitions_that_move_during_a_look_at_their_ends_are_looked_at_again():
    now = iter(range(10))
    consumer, check = Ends(), EndCheck(lambda: True, lambda: next(now))

    def look():
        return asyncio.run(check.look(consumer, [SOURCE]))

    assert look() == {}
    assert look() == {SOURCE: 0}
    for passing in (IllegalStateError("not assigned"), NotLeaderForPartitionError()):
        consumer.trouble = [passing]
        assert look() == {}
        assert look() == {}  # what was seen before the trouble is void
    assert look() == {SOURCE: 5}
    consumer.trouble = [TopicAuthorizationFailedError("clickstream")]
    with pytest.raises(TopicAuthorizationFailedError):
        look()
