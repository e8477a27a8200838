from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from schemas.errors import BrokerError
from schemas.settings import Settings
from schemas.topics import Topic
from worker.broker.embedded import PARTITIONS, EmbeddedBroker
from worker.broker.readiness import accepts_connections
from worker.kafka_admin import create_topics
from worker.kafka_connection import connect, is_embedded

PARENT = """
import time
from worker.broker.embedded import EmbeddedBroker
broker = EmbeddedBroker()
broker.start()
print(broker.bootstrap_servers, broker.pid, flush=True)
time.sleep(600)
"""


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def wait_until_closed(address: str) -> None:
    wait_until(lambda: not accepts_connections(port_of(address)), f"{address} is closed")


def test_every_record_comes_back(embedded_settings: Settings, produce_all, consume_all) -> None:
    create_topics(embedded_settings, [Topic.CLICKSTREAM])
    records = [(f"user-{n % 17}".encode(), f"value-{n}".encode()) for n in range(1000)]

    produce_all(embedded_settings, Topic.CLICKSTREAM, records)

    messages: list[Message] = consume_all(embedded_settings, Topic.CLICKSTREAM)
    assert sorted((m.key(), m.value()) for m in messages) == sorted(records)
    by_key: dict[bytes, list[bytes]] = {}
    for message in messages:
        by_key.setdefault(message.key(), []).append(message.value())
    for key, values in by_key.items():
        assert values == [value for own, value in records if own == key], "order within a key"


def test_a_topic_has_the_partitions_the_module_says(embedded_settings: Settings) -> None:
    name = embedded_settings.kafka.topic(Topic.CATALOG)
    cluster = connect(embedded_settings.kafka)
    assert cluster.embedded
    assert name not in cluster.replicas

    cluster.client.list_topics(topic=name, timeout=60)

    assert len(connect(embedded_settings.kafka).replicas[name]) == PARTITIONS


def test_other_clusters_are_not_taken_for_embedded() -> None:
    assert is_embedded("mockCluster7f")
    assert not is_embedded("MkU3OEVBNTcwNTJENDM2Qg")
    assert not is_embedded(None)


@pytest.mark.slow
def test_a_group_shares_partitions_and_the_one_left_resumes_at_the_commit(
    embedded_settings: Settings, produce_all
) -> None:
    create_topics(embedded_settings, [Topic.CLICKSTREAM])
    name = embedded_settings.kafka.topic(Topic.CLICKSTREAM)
    produce_all(embedded_settings, Topic.CLICKSTREAM, [(f"u{n}", f"first-{n}") for n in range(200)])
    config = embedded_settings.kafka.consumer_config(embedded_settings.worker.group_id)
    first, second = Consumer(config), Consumer(config)
    seen: list[Message] = []

    def poll_both() -> None:
        for consumer in (first, second):
            for message in consumer.consume(100, 0.05):
                assert message.error() is None, message.error()
                seen.append(message)

    def shared() -> bool:
        poll_both()
        own, other = first.assignment(), second.assignment()
        return bool(own) and bool(other) and len(own) + len(other) == PARTITIONS

    def all_seen() -> bool:
        poll_both()
        return len({m.value() for m in seen}) == 200

    first.subscribe([name])
    second.subscribe([name])
    try:
        wait_until(shared, "two members share the partitions")
        wait_until(all_seen, "all records are read")
        ends = {p: first.get_watermark_offsets(TopicPartition(name, p))[1] for p in range(4)}
        first.commit(
            offsets=[TopicPartition(name, p, end) for p, end in ends.items()], asynchronous=False
        )
    finally:
        second.close()
    produce_all(embedded_settings, Topic.CLICKSTREAM, [(f"u{n}", f"then-{n}") for n in range(200)])
    first.close()  # what it had buffered is gone: the next member must go by the commit

    third = Consumer(config)
    third.subscribe([name])
    after: list[bytes | None] = []

    def rest_seen() -> bool:
        after.extend(m.value() for m in third.consume(500, 0.1))
        return len(after) >= 200

    try:
        wait_until(rest_seen, "the member left takes over and reads on")
        assert len(third.assignment()) == PARTITIONS
    finally:
        third.close()
    assert sorted(after) == sorted(f"then-{n}".encode() for n in range(200))


def test_the_address_is_only_there_while_it_runs() -> None:
    broker = EmbeddedBroker()
    with pytest.raises(BrokerError, match="not running"):
        _ = broker.bootstrap_servers
    with broker:
        address = broker.bootstrap_servers
        assert accepts_connections(port_of(address))
        with pytest.raises(BrokerError, match="already running"):
            broker.start()
    wait_until_closed(address)
    assert broker.pid is None
    broker.stop()  # a second time does nothing


def test_several_mock_brokers(make_settings: Callable[[str], Settings]) -> None:
    with EmbeddedBroker(brokers=3) as broker:
        assert len(broker.bootstrap_servers.split(",")) == 3
        assert connect(make_settings(broker.bootstrap_servers).kafka).embedded


def test_a_child_that_does_not_come_up_says_why() -> None:
    with pytest.raises(BrokerError, match=r"did not start.*\n.*test\.mock\.num\.brokers"):
        EmbeddedBroker(brokers=-1).start()


def test_sigterm_ends_it() -> None:
    with EmbeddedBroker() as broker:
        address = broker.bootstrap_servers
        assert broker.pid is not None
        os.kill(broker.pid, signal.SIGTERM)
        wait_until_closed(address)


def test_it_ends_when_its_parent_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        address, _ = parent.stdout.readline().split()
        assert accepts_connections(port_of(address))

        parent.kill()
        parent.wait()

        wait_until_closed(address)
