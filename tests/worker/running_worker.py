"""A worker on a broker, in a thread of the test's own, and waiting for what it does."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from confluent_kafka.admin import AdminClient, NewTopic
from fake_model import FakeModel

from schemas.settings import Settings
from schemas.topics import TOPIC_SPECS, Topic
from worker.item_sharing.interface import MemorySource
from worker.kafka_admin import consumer_lag, create_topics, partition_count
from worker.service import WorkerService

PATIENCE_S = 120.0


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.05)


def with_worker(settings: Settings, **changes: object) -> Settings:
    """Return settings with other values in the section [worker], metrics on a free port."""
    data = settings.model_dump()
    data["worker"] |= {"top_k": 5, "batch_events": 64, **changes}
    data["metrics"]["port"] = 0
    return Settings.model_validate(data)


def with_kafka(settings: Settings, **changes: object) -> Settings:
    """Return settings with other values in the section [kafka]; properties are added."""
    data = settings.model_dump()
    for name, value in changes.items():
        old = data["kafka"][name]
        data["kafka"][name] = {**old, **value} if isinstance(value, dict) else value
    return Settings.model_validate(data)


def make_topics(settings: Settings, configs: dict[Topic, dict[str, str]] | None = None) -> None:
    """Create all topics, some with other policies than usual (on a real broker)."""
    admin = AdminClient(settings.kafka.client_config())
    for topic, config in (configs or {}).items():
        partitions = partition_count(settings.kafka, TOPIC_SPECS[topic])
        new = NewTopic(settings.kafka.topic(topic), partitions, 1, config=config)
        for future in admin.create_topics([new]).values():
            future.result(120)
    create_topics(settings)


def is_drained(settings: Settings) -> bool:
    """Whether everything in `clickstream` is processed and committed."""
    lags = consumer_lag(settings, settings.worker.group_id, timeout_s=60)
    return all(partition.lag == 0 for partition in lags)


def drain(settings: Settings, timeout_s: float = PATIENCE_S) -> None:
    wait_until(lambda: is_drained(settings), "the clickstream processed to its end", timeout_s)


class RunningWorker:
    """A `WorkerService` in a thread."""

    def __init__(
        self,
        settings: Settings,
        model: FakeModel | None = None,
        item_memory: MemorySource | None = None,
    ) -> None:
        self.service = WorkerService(settings, model or FakeModel(), item_memory=item_memory)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="worker")
        self._run: Future[None] | None = None

    def start(self) -> None:
        run = self._run = self._thread.submit(self.service.run)
        wait_until(lambda: self.service.serving.is_set() or run.done(), "a worker serving")

    def stop(self) -> None:
        """Stop the worker, or raise what it ended with."""
        self.service.stop()
        self.result()

    def result(self) -> None:
        """Wait for the end, or raise what it ended with."""
        try:
            self._run.result(PATIENCE_S)
        finally:
            self._thread.shutdown(wait=False)

    def sample(self, name: str, **labels: str) -> float:
        return self.service.metrics.registry.get_sample_value(name, labels) or 0.0


@contextmanager
def running(
    settings: Settings, model: FakeModel | None = None, item_memory: MemorySource | None = None
) -> Iterator[RunningWorker]:
    """Run a worker while the block runs; its error, if any, is raised at the end."""
    worker = RunningWorker(settings, model, item_memory)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()
