"""`innerloop bench collector`: events over HTTP, beside the raw producer, in turns in one run.

- `producer`: confluent-kafka's producer in this process, on events encoded before; an event counts
  when its acknowledgement is there, as it does for the collector;
- `collector`: a real `innerloop collect`, asked by HTTP requests of a process beside it, each
  answered once the brokers have acknowledged its events.

Both with so many events in a request (which the producer hands over and then waits for) and so
many requests under way at a time; the producer also with no bound, which is what it can do at most.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from confluent_kafka import KafkaError, Message

from schemas.errors import BenchError
from schemas.settings import Settings
from schemas.topics import Topic
from worker.bench.brokers import BrokerName, running_broker
from worker.bench.hardware import describe
from worker.bench.http_load import Load, closed_loop, http_request
from worker.bench.processor_time import cpu_seconds
from worker.bench.repetition import alternate
from worker.bench.report import Report, Run
from worker.bench.shop import Shop, encoded
from worker.bench.stand import Stand, produce, stand
from worker.clients import make_reporting_producer
from worker.demo.children import Child, Children

_READY_WITHIN_S = 60.0
_FLUSH_WITHIN_S = 120.0
_ITEMS, _USERS = 48_000, 20_000
_NO_LIMIT = 10_000_000

Records = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Case:
    """How events are sent."""

    batch: int
    """Events in a request."""
    under_way: int
    """Requests at a time; 0 for no bound, which only the producer has."""
    share: float
    """Of the plan's events, as some ways are slow."""


CASES = (Case(1, 1, 0.02), Case(1, 32, 0.25), Case(50, 1, 0.5), Case(50, 8, 1.0), Case(1, 0, 1.0))


@dataclass(frozen=True)
class CollectorPlan:
    """What to measure."""

    broker: BrokerName = "kafka"
    events: int = 20_000
    """Of the fastest cases in each repetition."""
    repeats: int = 5
    partitions: int = 8
    seed: int = 0
    settings: Settings = field(default_factory=Settings)


def run_collector(plan: CollectorPlan, folder: Path) -> Report:
    """Measure.

    Args:
        plan: what to measure.
        folder: for settings and logs; nothing of it is needed afterwards.

    Raises:
        BrokerError: the broker does not start.
        BenchError: a request is not answered, or an event not acknowledged.
        DemoError: the collector ends.
    """
    key = secrets.token_hex(16)
    settings = _settings(plan.settings, key)
    described = {
        "broker": plan.broker,
        "events": plan.events,
        "partitions": plan.partitions,
        "repeats": plan.repeats,
        "linger_ms": str(settings.kafka.producer_config()["linger.ms"]),
    }
    run = Run("collector", describe(), described, _BIAS)
    with (
        running_broker(plan.broker) as broker,
        stand(settings, broker, folder, folder / "no-bundle", plan.partitions) as made,
        Children(folder / "logs") as children,
    ):
        bench = _Collector(plan, made, children, key)
        for (method, case), values in bench.measure().items():
            figures = {name: [value[name] for value in values] for name in values[0]}
            shown = {"batch": case.batch, "under_way": case.under_way or "no bound"}
            run.add(method, shown, figures)
    return run.report()


_BIAS = [
    "The broker, the collector and what asks it share the cores; processor time is that of the "
    "publishing process alone.",
    "The collector also reads, checks and encodes each event and makes its headers; the producer's "
    "were encoded before.",
    "Closed loop: a request is sent when an earlier one is answered, so a stall delays what comes "
    "after it and does not count for it.",
    "Latency is that of a whole request; the producer's of the slowest event of as many.",
]


class _Collector:
    def __init__(self, plan: CollectorPlan, made: Stand, children: Children, key: str) -> None:
        self._plan = plan
        self._stand = made
        self._topic = made.settings.kafka.topic(Topic.CLICKSTREAM)
        self._headers = [("Authorization", f"Bearer {key}")]
        self._shop = Shop.of_size(_ITEMS, _USERS)
        self._turn = 0
        self._producer = make_reporting_producer(made.settings)
        arguments = ["collect", "--config", str(made.config_file())]
        self._child = children.start("collector", [*arguments, "--port", "0"])
        self._address = _address(self._child)

    def measure(self) -> dict[tuple[str, Case], list[dict[str, float]]]:
        ways = {("producer", case): partial(self._by_producer, case) for case in CASES}
        ways |= {
            ("collector", case): partial(self._by_collector, case)
            for case in CASES
            if case.under_way
        }
        names = {f"{method} {case}": (method, case) for method, case in ways}
        measured = alternate(
            {name: ways[names[name]] for name in names}, self._plan.repeats, warm_up=1
        )
        return {names[name]: values for name, values in measured.items()}

    def _records(self, case: Case) -> Records:
        self._turn += 1
        count = max(case.batch * 8, round(self._plan.events * case.share))
        count -= count % case.batch
        return encoded(self._shop.events(count, self._turn, f"c{self._turn:07d}-"))

    def _by_collector(self, case: Case) -> dict[str, float]:
        values = [value for _, value in self._records(case)]
        requests = [
            http_request("/v1/events", _batch(values[n : n + case.batch]), self._headers)
            for n in range(0, len(values), case.batch)
        ]
        cpu = cpu_seconds(self._child.pid)
        load = closed_loop(self._address, requests, case.under_way)
        self._child.check()
        return _figures(load, len(values), cpu_seconds(self._child.pid) - cpu)

    def _by_producer(self, case: Case) -> dict[str, float]:
        records = self._records(case)
        cpu = time.process_time()
        load = self._publish(records, case)
        return _figures(load, len(records), time.process_time() - cpu)

    def _publish(self, records: Records, case: Case) -> Load:
        """Hand over batches, so many under way at a time, and wait for all acknowledgements."""
        load, under_way = Load(), 0
        most = case.under_way or len(records)

        def told(left: list[int], since: float, error: KafkaError | None, _of: Message) -> None:
            nonlocal under_way
            if error is not None:
                raise BenchError(f"an event was not acknowledged: {error.str()}")
            left[0] -= 1
            if not left[0]:
                under_way -= 1
                load.latencies.append(time.perf_counter() - since)

        begin = time.perf_counter()
        for n in range(0, len(records), case.batch):
            while under_way >= most:
                self._producer.poll(0.1)
            batch = records[n : n + case.batch]
            callback = partial(told, [len(batch)], time.perf_counter())
            under_way += 1
            for key, value in batch:
                produce(self._producer, self._topic, key, value, on_delivery=callback)
            self._producer.poll(0)
        deadline = time.monotonic() + _FLUSH_WITHIN_S
        while under_way:
            self._producer.poll(0.1)  # not `flush`, which would cut the linger short
            if time.monotonic() > deadline:
                raise BenchError("events were not acknowledged")
        load.seconds = time.perf_counter() - begin
        return load


def _figures(load: Load, events: int, cpu: float) -> dict[str, float]:
    p50, p99 = np.percentile(load.latencies, [50, 99])
    return {
        "events_per_s": events / load.seconds,
        "p50_ms": 1e3 * float(p50),
        "p99_ms": 1e3 * float(p99),
        "cpu_us_per_event": 1e6 * cpu / events,
    }


def _batch(values: Sequence[bytes]) -> bytes:
    return values[0] if len(values) == 1 else b'{"events":[' + b",".join(values) + b"]}"


def _settings(base: Settings, key: str) -> Settings:
    data = base.model_dump()
    data["collector"] |= {
        "write_keys": {"bench": key},
        "port": 0,
        "metrics_port": 0,
        "requests_per_second": _NO_LIMIT,
        "events_per_second": _NO_LIMIT,
    }
    return Settings.model_validate(data)


def _address(child: Child) -> tuple[str, int]:
    """Wait until the collector says where it is."""
    deadline = time.monotonic() + _READY_WITHIN_S
    while True:
        child.check()
        found = re.search(r"ready at http://(\S+):(\d+)", child.output())
        if found is not None:
            return found[1], int(found[2])
        if time.monotonic() > deadline:
            raise BenchError(f"the collector is not ready{child.tail()}")
        time.sleep(0.05)
