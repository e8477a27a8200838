"""`innerloop bench floor`: what moving the bytes costs, with no work, beside what the worker takes.

All variants go through the same bytes, in turns; the loops do so several times over, for they are
too fast to time once:

- `copy`: consume each record and produce it again;
- `decode`: the same with the value decoded and an entry of a dict updated on the way;
- `outputs`: consume each record and produce what the worker publishes for one, a recommendation and
  a state, byte for byte as it was published before;
- `worker`: a real worker process, by its own stage metrics and by the offsets that it commits.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from schemas.clickstream import ClickstreamEvent
from schemas.errors import BenchError
from schemas.topics import Topic
from worker.bench.brokers import EMBEDDED_BYTES, BrokerName, running_broker
from worker.bench.hardware import describe
from worker.bench.progress import Progress
from worker.bench.repetition import alternate
from worker.bench.report import Report, Run
from worker.bench.shop import Shop, encoded
from worker.bench.stand import Stand, Worker, produce, stand
from worker.bench.workload import BIAS, Workload
from worker.clients import make_producer
from worker.demo.children import Children
from worker.metrics import Stage

_CONSUME = 1000
_SAMPLE = 2_000
_WITHIN_S = 600.0
_CORE = (Stage.ADAPT, Stage.RANK)


@dataclass(frozen=True)
class FloorPlan:
    """What to measure."""

    broker: BrokerName = "kafka"
    events: int = 20_000
    """In each repetition."""
    passes: int = 10
    """How often `copy` and `decode` go through them (on the embedded broker, as often as it keeps
    them); `outputs` does so a tenth as often."""
    repeats: int = 5
    workload: Workload = field(default_factory=Workload)


def run_floor(plan: FloorPlan, folder: Path) -> Report:
    """Measure.

    Args:
        plan: what to measure.
        folder: for the bundle, settings and logs; nothing of it is needed afterwards.

    Raises:
        BrokerError: the broker does not start.
        BenchError: a process does not get on.
    """
    bundle, shop = plan.workload.prepare(folder)
    settings = {
        **plan.workload.described(),
        "broker": plan.broker,
        "events": plan.events,
        "passes": plan.passes,
        "repeats": plan.repeats,
    }
    run = Run("floor", describe(), settings, _BIAS)
    with (
        running_broker(plan.broker) as broker,
        stand(plan.workload.settings, broker, folder, bundle, plan.workload.partitions) as made,
        Progress(made) as progress,
        Children(folder / "logs") as children,
    ):
        made.publish_catalogue(shop)
        (worker,) = made.start_workers(children)
        bench = _Floor(plan, made, worker, progress, shop)
        for name, values in bench.measure().items():
            figures = {key: [value[key] for value in values] for key in values[0]}
            run.add(name, bench.case(name), figures)
    return run.report()


_BIAS = [
    *BIAS,
    "The loops keep the broker and their own two librdkafka threads busy at once; a worker waits "
    "for the acknowledgement of each micro-batch before it goes on.",
    "`outputs` produces what the worker publishes but for item transitions and dead letters.",
]


class _Floor:
    def __init__(
        self, plan: FloorPlan, made: Stand, worker: Worker, progress: Progress, shop: Shop
    ) -> None:
        self._plan = plan
        self._stand = made
        self._worker = worker
        self._shop = shop
        self._progress = progress
        self._published = self._turn = self._in_bytes = 0
        self._outputs: list[tuple[bytes, bytes]] = []
        self._records: list[tuple[bytes, bytes]] = []
        prefix = made.settings.kafka.topic_prefix
        self._source, self._copies = f"{prefix}records", f"{prefix}copies"

    def measure(self) -> dict[str, list[dict[str, float]]]:
        self._run_worker()  # compiles, fills caches, and shows what a worker publishes
        self._outputs = self._published_values()
        passes = self._fill_source()
        many, few = passes * self._plan.events, -(-passes // 10) * self._plan.events
        loops: dict[str, Callable[[], dict[str, float]]] = {
            "copy": partial(self._run_loop, self._copy, many),
            "decode": partial(self._run_loop, self._decode, many),
            "outputs": partial(self._run_loop, self._produce_outputs, few),
        }
        values: dict[str, list[dict[str, float]]] = {"worker": [], **{name: [] for name in loops}}
        for _ in range(self._plan.repeats):
            values["worker"].append(self._run_worker())
            for name, found in alternate(loops, 1, warm_up=0).items():
                values[name] += found
        return values

    def _fill_source(self) -> int:
        """Publish the worker's records again for the loops; return how many times."""
        size = sum(len(key) + len(value) for key, value in self._records)
        passes = self._plan.passes
        if self._plan.broker == "embedded":
            passes = max(1, min(passes, EMBEDDED_BYTES // size))
        for name in (self._source, self._copies):
            self._stand.create_topic(name)
        self._stand.publish(self._source, self._records * passes)
        return passes

    def case(self, method: str) -> dict[str, int | str]:
        answers, states = zip(*self._outputs, strict=True)
        out = {
            "copy": self._in_bytes,
            "decode": self._in_bytes,
            "outputs": _mean(answers) + _mean(states),
            "worker": _mean(answers) + _mean(states),
        }
        return {"broker": self._plan.broker, "in_bytes": self._in_bytes, "out_bytes": out[method]}

    def _run_worker(self) -> dict[str, float]:
        n = self._plan.events
        self._turn += 1
        events = self._shop.events(n, self._turn, f"f{self._turn:07d}-")
        self._records = records = encoded(events)
        self._in_bytes = _mean([value for _, value in records])
        before, cpu = self._worker.sample(), self._worker.cpu_seconds()
        begin = time.monotonic()
        self._stand.publish(self._stand.clickstream, records)
        self._published += n
        end, _ = self._progress.wait_for(self._published, [self._worker.child], _WITHIN_S)
        spent = self._worker.sample().since(before)
        cpu = self._worker.cpu_seconds() - cpu
        if spent.applied != n:
            raise BenchError(f"the worker applied {spent.applied:,.0f} of {n:,} events")
        by_stage = {stage: 1e6 * seconds / n for stage, seconds in spent.stage_seconds.items()}
        core = sum(by_stage[stage.value] for stage in _CORE)
        return {
            "events_per_s": n / (end - begin),
            "us_per_event": 1e6 * (end - begin) / n,
            "cpu_us_per_event": 1e6 * cpu / n,
            "outside_adapt_and_rank_us": sum(by_stage.values()) - core,
            **{f"{stage}_us": value for stage, value in by_stage.items()},
            "events_per_batch": n / max(1.0, spent.batches),
        }

    def _published_values(self) -> list[tuple[bytes, bytes]]:
        """Return recommendations and states that the worker has published, in pairs."""
        answers = self._read_some(Topic.RECOMMENDATIONS)
        states = self._read_some(Topic.USER_STATE)
        return list(zip(answers, itertools.cycle(states), strict=False))

    def _read_some(self, topic: Topic) -> list[bytes]:
        name, ends = self._stand.settings.kafka.topic(topic), self._stand.ends(topic)
        consumer = self._stand.consumer()
        # The latest ones: the embedded broker may have dropped the earliest.
        share = -(-_SAMPLE // len(ends))
        starts = {number: max(0, end - share) for number, end in ends.items()}
        consumer.assign([TopicPartition(name, number, at) for number, at in starts.items()])
        wanted = sum(end - starts[number] for number, end in ends.items())
        try:
            found = consumer.consume(wanted, timeout=30.0)
        finally:
            consumer.close()
        values = [value for m in found if m.error() is None and (value := m.value()) is not None]
        if not values:
            raise BenchError(f"the worker has published nothing on {name}")
        return values

    def _run_loop(
        self, work: Callable[[Sequence[Message], Producer], None], records: int
    ) -> dict[str, float]:
        """Take so many records through a loop."""
        starts = [TopicPartition(self._source, n, 0) for n in range(self._stand.partitions)]
        consumer = self._stand.consumer()
        producer = make_producer(self._stand.settings)
        try:
            for client in (consumer, producer):
                client.list_topics(self._source, timeout=30)  # connected
            begin, cpu, left = time.perf_counter(), time.process_time(), records
            consumer.assign(starts)
            while left:
                messages = self._next(consumer, min(left, _CONSUME))
                left -= len(messages)
                work(messages, producer)
                producer.poll(0)
            if producer.flush(_WITHIN_S):
                raise BenchError(f"records of {self._copies} were not acknowledged")
            seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
        finally:
            consumer.close()
        return {
            "events_per_s": records / seconds,
            "us_per_event": 1e6 * seconds / records,
            "cpu_us_per_event": 1e6 * cpu / records,
        }

    @staticmethod
    def _next(consumer: Consumer, count: int) -> list[Message]:
        messages = consumer.consume(count, timeout=30.0)
        for message in messages:
            error = message.error()
            if error is not None:
                raise KafkaException(error)
        if not messages:
            raise BenchError("the broker serves no records")
        return messages

    def _copy(self, messages: Sequence[Message], producer: Producer) -> None:
        for message in messages:
            to = message.partition()
            produce(producer, self._copies, message.key(), message.value(), partition=to)

    def _decode(self, messages: Sequence[Message], producer: Producer) -> None:
        decode = msgspec.json.Decoder(ClickstreamEvent).decode
        latest: dict[str, tuple[str | None, int]] = {}
        for message in messages:
            value = message.value()
            assert value is not None  # written by this benchmark
            event = decode(value)
            latest[event.user_id] = (event.item_id, event.time)
            produce(producer, self._copies, message.key(), value, partition=message.partition())

    def _produce_outputs(self, messages: Sequence[Message], producer: Producer) -> None:
        outputs = itertools.cycle(self._outputs)
        for message, (answer, state) in zip(messages, outputs, strict=False):
            key, to = message.key(), message.partition()
            produce(producer, self._copies, key, answer, partition=to)
            produce(producer, self._copies, key, state, partition=to)


def _mean(values: Sequence[bytes]) -> int:
    return round(sum(map(len, values)) / len(values))
