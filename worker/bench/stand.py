"""A test stand: topics of its own on a broker, a catalogue, and workers as real processes."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from schemas.errors import BenchError
from schemas.settings import Settings
from schemas.topics import Topic
from worker.bench.brokers import Broker
from worker.bench.processor_time import cpu_seconds
from worker.bench.settings_file import toml_text
from worker.bench.shop import Shop
from worker.bench.worker_sample import BenchSample, sample
from worker.broker.embedded import PARTITIONS
from worker.broker.readiness import free_port
from worker.clients import make_producer
from worker.demo.children import Child, Children
from worker.demo.plan import metrics_url
from worker.kafka_admin import create_topics
from worker.kafka_connection import connect

_READY_WITHIN_S = 600.0
_FLUSH_WITHIN_S = 60.0
_ANSWER_WITHIN_S = 30.0
_STEP_S = 0.02
_LIBRDKAFKA = logging.getLogger("librdkafka")  # silent, but where someone wants to hear it

Records = Sequence[tuple[bytes, bytes]]
"""Key and value of each."""


@dataclass(frozen=True)
class Worker:
    """A worker process."""

    child: Child
    metrics_port: int

    def cpu_seconds(self) -> float:
        """Return the processor time that it has used; see `processor_time`."""
        return cpu_seconds(self.child.pid)

    def sample(self) -> BenchSample:
        """Return its metrics now.

        Raises:
            DemoError: the process has ended.
            BenchError: it does not answer.
        """
        self.child.check()
        found = sample(metrics_url(self.metrics_port))
        if found is None:
            raise BenchError(f"a worker's metrics do not answer{self.child.tail()}")
        return found


class Stand:
    """Topics on a broker, and the workers that serve them. Made by `stand`."""

    def __init__(self, settings: Settings, broker: Broker, folder: Path) -> None:
        self.settings = settings
        self.broker = broker
        self.folder = folder
        self._producer = make_producer(settings)
        self.clickstream = settings.kafka.topic(Topic.CLICKSTREAM)
        self.partitions = PARTITIONS if broker.name == "embedded" else settings.kafka.partitions

    def publish(self, name: str, records: Records) -> None:
        """Publish records to a topic, by its full name, and wait until all are acknowledged.

        Raises:
            BenchError: one is not acknowledged.
        """
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                failed.append(error)

        for key, value in records:
            produce(self._producer, name, key, value, on_delivery=delivered)
        if self._producer.flush(_FLUSH_WITHIN_S) or failed:
            reason = f": {failed[0].str()}" if failed else ""
            raise BenchError(f"records of {name} were not acknowledged{reason}")

    def publish_catalogue(self, shop: Shop) -> None:
        """Publish all items of a shop."""
        encode = msgspec.json.Encoder().encode
        records = [(item.item_id.encode(), encode(item)) for item in shop.items()]
        self.publish(self.settings.kafka.topic(Topic.CATALOG), records)

    def config_file(self) -> Path:
        """Write the settings of this stand for a worker; return where."""
        path = self.folder / "bench.toml"
        path.write_text(toml_text(self.settings), encoding="utf-8")
        return path

    def start_workers(self, children: Children, count: int = 1) -> list[Worker]:
        """Start workers and wait until every partition is served.

        Raises:
            DemoError: one ends instead.
            BenchError: they are not ready in time.
        """
        workers = []
        for _ in range(count):
            port = free_port()
            arguments = ["worker", "--config", str(self.config_file())]
            name = f"worker-{port}"
            child = children.start(name, [*arguments, "--metrics-port", str(port)])
            workers.append(Worker(child, port))
        deadline = time.monotonic() + _READY_WITHIN_S
        while not self._is_served(workers):
            if time.monotonic() > deadline:
                tail = workers[0].child.tail()
                raise BenchError(f"no worker is ready after {_READY_WITHIN_S:g} s{tail}")
            time.sleep(0.2)
        return workers

    def _is_served(self, workers: Sequence[Worker]) -> bool:
        samples = []
        for worker in workers:
            worker.child.check()
            samples.append(sample(metrics_url(worker.metrics_port)))
        known = [found for found in samples if found is not None]
        return (
            len(known) == len(workers)
            and sum(found.partitions for found in known) == self.partitions
            and all(found.partitions > 0 for found in known)
            and all(found.restored >= found.partitions for found in known)
        )

    def consumer(self, **overrides: str | int) -> Consumer:
        """Return a consumer that is in no group's way."""
        group = f"{self.settings.kafka.topic_prefix}reader-{uuid.uuid4().hex[:8]}"
        config = self.settings.kafka.consumer_config(group, **overrides)
        return Consumer(config, logger=_LIBRDKAFKA)

    def ends(self, topic: Topic) -> dict[int, int]:
        """Return by partition the offset of the next record to be published."""
        with Ends(self, topic) as ends:
            return ends.now()

    def create_topic(self, name: str) -> None:
        """Create a further topic, with as many partitions as `clickstream`."""
        cluster = connect(self.settings.kafka)
        if cluster.embedded:
            cluster.client.list_topics(topic=name, timeout=30)
            return
        copies = self.settings.kafka.replication_factor
        config = {"retention.bytes": str(1 << 26), "segment.bytes": str(1 << 24)}
        new = NewTopic(name, self.partitions, copies, config=config)
        for future in cluster.client.create_topics([new], operation_timeout=30).values():
            future.result()

    def delete_topics(self) -> None:
        """Delete the topics of this stand; the embedded broker forgets them with its process."""
        cluster = connect(self.settings.kafka)
        names = [n for n in cluster.replicas if n.startswith(self.settings.kafka.topic_prefix)]
        if names and not cluster.embedded:
            for future in cluster.client.delete_topics(names, operation_timeout=30).values():
                future.result()


class Ends:
    """Asks for the ends of a topic, again and again; a context manager.

    Args:
        stand: of the topic.
        topic: which.
    """

    def __init__(self, stand: Stand, topic: Topic) -> None:
        self._consumer = stand.consumer()
        name = stand.settings.kafka.topic(topic)
        self._partitions = [TopicPartition(name, number) for number in range(stand.partitions)]

    def now(self) -> dict[int, int]:
        """Return by partition the offset of the next record to be published.

        Raises:
            BenchError: the broker does not tell.
        """
        return {partition.partition: self._end(partition) for partition in self._partitions}

    def _end(self, partition: TopicPartition) -> int:
        deadline = time.monotonic() + _ANSWER_WITHIN_S
        while True:
            try:
                end: int = self._consumer.get_watermark_offsets(partition, timeout=30)[1]
            except KafkaException as error:
                # A partition that is new has no leader for a moment.
                if time.monotonic() > deadline:
                    raise BenchError(f"the broker does not tell the end: {error}") from error
                time.sleep(_STEP_S)
            else:
                return end

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()


@contextmanager
def stand(
    base: Settings, broker: Broker, folder: Path, bundle: Path, partitions: int
) -> Iterator[Stand]:
    """Give a stand with topics of its own; they are deleted when the block ends.

    Args:
        base: settings to begin with, the worker's above all.
        broker: to run on.
        folder: for the worker's settings.
        bundle: that workers serve.
        partitions: of the topics keyed by user (the embedded broker has its own number).
    """
    made = Stand(_settings(base, broker, bundle, partitions), broker, folder)
    create_topics(made.settings)
    try:
        yield made
    finally:
        made.delete_topics()


def produce(
    producer: Producer,
    topic: str,
    key: bytes | None,
    value: bytes | None,
    **options: Any,  # noqa: ANN401 - of librdkafka's produce
) -> None:
    """Produce a record, waiting where the local queue is full."""
    while True:
        try:
            producer.produce(topic, key=key, value=value, **options)
        except BufferError:
            producer.poll(0.01)
        else:
            return


def _settings(base: Settings, broker: Broker, bundle: Path, partitions: int) -> Settings:
    prefix = f"bench-{uuid.uuid4().hex[:12]}."
    data = base.model_dump()
    kafka = data["kafka"]
    kafka["bootstrap_servers"] = broker.address
    kafka["topic_prefix"] = prefix
    kafka["partitions"] = partitions
    kafka["consumer_properties"] = {**broker.consumer_properties, **kafka["consumer_properties"]}
    data["worker"] |= {"group_id": f"{prefix}worker", "bundle": bundle}
    data["metrics"] |= {"enabled": True, "port": 0}
    return Settings.model_validate(data)
