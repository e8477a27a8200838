"""The streaming worker: Kafka clients, model, catalogue and pipeline put together, and the loop."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaException, Producer

from schemas.codec import build_codec
from schemas.errors import BrokerError
from schemas.settings import Settings
from schemas.topics import Topic
from worker.catalogue import Catalogue
from worker.catalogue_follower import CatalogueFollower
from worker.kafka_connection import connect, property_error
from worker.metrics import Rebalance, Stage, WorkerMetrics
from worker.metrics_endpoint import serve_metrics
from worker.micro_batch import BatchProcessor, wall_clock_ms
from worker.model.interface import AdaptationModel
from worker.outputs import RecommendationWriter
from worker.pipeline import Pipeline
from worker.restore.loader import StateLoader
from worker.restore.restorer import StateRestorer
from worker.stages.commit import Committer
from worker.stages.decode import Decoder
from worker.stages.poll import Poller
from worker.stages.publish import Publisher
from worker.state.arena import UserArena
from worker.topic_reader import PartitionReader

_ClientT = TypeVar("_ClientT", Consumer, Producer)

_LOG = logging.getLogger(__name__)

_PARALLEL_TOPICS = (Topic.RECOMMENDATIONS, Topic.USER_STATE, Topic.DEAD_LETTERS)
# The dead-letter topic takes records larger than librdkafka lets a producer send by default.
_LARGEST_RECORD_BYTES = 16 * 1024 * 1024
# Brokers that are gone for longer stop the worker, before the group would throw it out.
_DELIVERY_TIMEOUT_MS = 120_000
_CLOSE_WAIT_S = 10.0


class WorkerService:
    """One worker process: a member of the consumer group that adapts, ranks and answers.

    Example:
        service = WorkerService(settings, ServingModel.load(bundle))
        signal.signal(signal.SIGTERM, lambda *_: service.stop())
        service.run()

    Args:
        settings: all of them.
        model: the model to serve.
        metrics: where it is watched; None makes a registry of its own.
    """

    def __init__(
        self, settings: Settings, model: AdaptationModel, metrics: WorkerMetrics | None = None
    ) -> None:
        self.settings = settings
        self.metrics = metrics or WorkerMetrics()
        self._model = model
        self._stop = threading.Event()
        self.serving = threading.Event()
        """Set once the catalogue is read and the group joined."""
        self.metrics_port: int | None = None

    def stop(self) -> None:
        """Ask `run` to finish the micro-batch under way, commit and return. Safe in a signal."""
        self._stop.set()

    def run(self) -> None:
        """Serve until `stop`.

        Raises:
            SettingsError: the metrics address cannot be bound, or a property is wrong.
            BrokerError: the brokers cannot be reached, a topic is missing or of the wrong shape, or
                an output is not acknowledged. Nothing unacknowledged has been committed then.
            RegistryError: the schema registry cannot be asked.
        """
        partitions = check_topics(self.settings)
        with serve_metrics(self.metrics, self.settings.metrics) as port:
            self.metrics_port = port
            session = _Session(self.settings, self._model, self.metrics, partitions, self._stop)
            try:
                session.start()
                self.serving.set()
                while not self._stop.is_set():
                    session.step()
            finally:
                session.close()
        _LOG.info("stopped; everything read is answered and committed")


def check_topics(settings: Settings) -> dict[Topic, int]:
    """Return how many partitions the worker's topics have.

    Raises:
        BrokerError: one does not exist, or those that go in parallel with `clickstream` have
            another number of partitions.
    """
    replicas = connect(settings.kafka).replicas
    partitions = {}
    for topic in (Topic.CLICKSTREAM, Topic.CATALOG, *_PARALLEL_TOPICS):
        name = settings.kafka.topic(topic)
        if name not in replicas:
            raise BrokerError(f"topic {name} does not exist; run `innerloop topics create`")
        partitions[topic] = len(replicas[name])
    expected = partitions[Topic.CLICKSTREAM]
    for topic in _PARALLEL_TOPICS:
        if partitions[topic] != expected:
            raise BrokerError(
                f"topic {settings.kafka.topic(topic)} has {partitions[topic]} partitions and "
                f"{settings.kafka.topic(Topic.CLICKSTREAM)} has {expected}; a user's records share "
                "a partition number, so both must have as many"
            )
    return partitions


class _Session:
    """The clients and parts of one `run`."""

    def __init__(
        self,
        settings: Settings,
        model: AdaptationModel,
        metrics: WorkerMetrics,
        partitions: dict[Topic, int],
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._stop = stop
        worker, kafka = settings.worker, settings.kafka
        codec = build_codec(settings.wire)
        clickstream = kafka.topic(Topic.CLICKSTREAM)
        self._consumer = self._make_consumer()
        catalogue_reader = self._make_reader(Topic.CATALOG, wait_ms=100)
        state_reader = self._make_reader(Topic.USER_STATE, wait_ms=10)
        self._readers = (catalogue_reader, state_reader)
        self._producer = self._make_producer()
        catalogue = self._items = Catalogue(model)
        self._arena = UserArena(model, recent_events=worker.recent_events, top_k=worker.top_k)
        self._catalogue = CatalogueFollower(
            catalogue_reader, partitions[Topic.CATALOG], codec, catalogue, metrics
        )
        loader = StateLoader(model, catalogue, self._arena)
        self._restorer = StateRestorer(state_reader, loader, metrics, clickstream)
        self._committer = Committer(self._consumer, clickstream, metrics)
        self._poller = Poller(
            self._consumer,
            topic=clickstream,
            batch_events=worker.batch_events,
            wait_s=worker.batch_wait_ms / 1000.0,
            changed=self._assignment_changed,
        )
        self._processor = BatchProcessor(
            decoder=Decoder(
                codec,
                max_bytes=worker.max_event_bytes,
                max_future_ms=worker.max_future_seconds * 1000,
                now_ms=wall_clock_ms,
            ),
            pipeline=Pipeline(model, catalogue, self._arena, metrics, worker),
            writer=RecommendationWriter(
                codec=codec,
                topic=kafka.topic(Topic.RECOMMENDATIONS),
                catalogue=catalogue,
                model_version=model.version,
                variant=worker.variant,
                now_ms=wall_clock_ms,
            ),
            records=Publisher(self._producer),
            offsets=self._committer,
            arena=self._arena,
            metrics=metrics,
            model_version=model.version,
            state_topic=kafka.topic(Topic.USER_STATE),
            dead_letter_topic=kafka.topic(Topic.DEAD_LETTERS),
        )
        metrics.model_info.labels(model.version, model.device.type, worker.variant).set(1)

    def start(self) -> None:
        """Read the catalogue, then join the group."""
        self._catalogue.catch_up(self._settings.worker.catalog_wait_seconds, self._stop)
        _LOG.info("the catalogue has %d items", len(self._items))
        self._poller.subscribe()

    def step(self) -> None:
        """Process one micro-batch, if there are records; go on with what else is to be done."""
        begin = time.perf_counter()
        messages = self._poller.poll(wait=not self._restorer.pending)
        if messages:
            polling = time.perf_counter() - begin
            self._metrics.stage_seconds.labels(Stage.POLL.value).observe(polling)
        if self._restorer.pending:
            self._poller.ready(self._restorer.step())
        # Events wait for the catalogue, not it for them: an event on an item that was published
        # before it must find the item.
        level = self._catalogue.catch_up(self._settings.worker.catalog_wait_seconds, self._stop)
        if messages and (level or not self._stop.is_set()):
            self._processor.process(messages)
        self._committer.retry()
        self._committer.report_lag(self._poller.partitions)

    def close(self) -> None:
        """Leave the group and close the clients."""
        self._consumer.close()
        for reader in self._readers:
            reader.close()
        self._producer.flush(_CLOSE_WAIT_S)

    def _assignment_changed(self, partitions: list[int], how: Rebalance) -> None:
        self._metrics.rebalanced_partitions.labels(how.value).inc(len(partitions))
        _LOG.info("partitions %s: %s", how.value, sorted(partitions))
        if how is Rebalance.ASSIGNED:
            self._restorer.begin(partitions)
            return
        self._restorer.abandon(partitions)
        if how is Rebalance.REVOKED:
            self._committer.retry()  # the last chance before the partitions go
        self._committer.forget(partitions)
        for partition in partitions:
            self._arena.release_partition(partition)
        self._metrics.users_resident.set(len(self._arena))

    def _make_consumer(self, **overrides: str | int) -> Consumer:
        config = self._settings.kafka.consumer_config(self._settings.worker.group_id, **overrides)
        return _client(Consumer, config)

    def _make_reader(self, topic: Topic, wait_ms: int) -> PartitionReader:
        # A broker sits on a fetch at the end of a topic for fetch.wait.max.ms, and so long does it
        # take to learn that this is the end, or to begin with another partition.
        overrides: dict[str, str | int] = {
            "enable.partition.eof": "true",
            "fetch.wait.max.ms": wait_ms,
        }
        return PartitionReader(self._make_consumer(**overrides), self._settings.kafka.topic(topic))

    def _make_producer(self) -> Producer:
        config = {
            "message.max.bytes": _LARGEST_RECORD_BYTES,
            "message.timeout.ms": _DELIVERY_TIMEOUT_MS,
            **self._settings.kafka.producer_config(),
        }
        return _client(Producer, config)


def _client(kind: Callable[..., _ClientT], config: dict[str, Any]) -> _ClientT:
    """Return a client that logs through Python's logging."""
    try:
        return kind(config, logger=logging.getLogger("librdkafka"))
    except KafkaException as error:
        raise property_error(error) from None
