"""`innerloop bench pipeline`: events per second at most, and latency at fixed offered loads.

The worker is a real process; the events come from another one, and this one reads the answers.

Saturation: so many events at once; the rate is that of the offsets committed, from the first tenth
of them on.

Latency: open loop. Events are due at fixed moments, whatever the worker does. An event's latency
runs from the moment it was *due* until its answer is here: an event that had to wait for a late one
before it counts in full ("coordinated omission", Gil Tene, "How NOT to Measure Latency", 2013).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from schemas.errors import BenchError, BrokerError
from worker.bench.answers import Subscriber, Waiting
from worker.bench.brokers import EMBEDDED_BYTES, Broker, BrokerName, running_broker
from worker.bench.hardware import describe
from worker.bench.progress import Progress
from worker.bench.repetition import alternate
from worker.bench.report import Report, Run
from worker.bench.sender import Order, Sender, due_times
from worker.bench.shop import Shop, encoded
from worker.bench.stand import Stand, Worker, stand
from worker.bench.workload import BIAS, Workload
from worker.demo.children import Child, Children

QUANTILES = {"p50_ms": 0.5, "p90_ms": 0.9, "p99_ms": 0.99, "p99_9_ms": 0.999, "max_ms": 1.0}
_WITHIN_S = 900.0
_PATIENCE_S = 60.0
_LINGER_MS = 1
_FIRST = 0.1
"""Share of the events of a burst before its rate is taken."""


@dataclass(frozen=True)
class PipelinePlan:
    """What to measure."""

    brokers: tuple[BrokerName, ...] = ("embedded", "kafka")
    events: int = 20_000
    """Of a burst, to saturate the worker."""
    loads: tuple[float, ...] = (0.25, 0.5, 0.75)
    """Offered, as shares of the rate at saturation measured just before."""
    rates: tuple[float, ...] = ()
    """Offered, in events per second; in place of `loads` where given."""
    seconds: float = 10.0
    """Of each load, the warm-up left out."""
    warm_up_s: float = 2.0
    """At the beginning of each load, not counted."""
    workers: int = 1
    repeats: int = 5
    workload: Workload = field(default_factory=Workload)


def run_pipeline(plan: PipelinePlan, folder: Path) -> Report:
    """Measure; a broker that cannot be started is skipped, unless it is the only one.

    Args:
        plan: what to measure.
        folder: for the bundle, settings and logs; nothing of it is needed afterwards.

    Raises:
        BrokerError: no broker starts.
        BenchError: a process does not get on.
    """
    bundle, shop = plan.workload.prepare(folder)
    settings = {
        **plan.workload.described(),
        "events": plan.events,
        "seconds": plan.seconds,
        "warm_up_s": plan.warm_up_s,
        "workers": plan.workers,
        "repeats": plan.repeats,
        "sender_linger_ms": _LINGER_MS,
    }
    run = Run("pipeline", describe(), settings, _BIAS)
    for name in plan.brokers:
        try:
            with running_broker(name) as broker:
                _measure(run, plan, broker, shop, bundle=bundle, folder=folder)
        except BrokerError as error:
            if len(plan.brokers) == 1:
                raise
            run.skip(name, str(error))
    return run.report()


_BIAS = [
    *BIAS,
    "Sending and reading the answers take a process each on the same cores, and a part of them: at "
    "a fixed load the worker has less of the machine than at saturation.",
    "The embedded broker adds up to 10 ms each time that a record is waited for (its "
    "fetch.wait.max.ms); Apache Kafka answers at once.",
    "p99.9 of a short run rests on few events: see events_per_repetition.",
]


def _measure(
    run: Run, plan: PipelinePlan, broker: Broker, shop: Shop, *, bundle: Path, folder: Path
) -> None:
    workload = plan.workload
    with (
        stand(workload.settings, broker, folder, bundle, workload.partitions) as made,
        Progress(made) as progress,
        Children(folder / "logs") as children,
    ):
        made.publish_catalogue(shop)
        workers = made.start_workers(children, plan.workers)
        drive = Drive(made, workers, progress, shop, folder)
        bursts = alternate({"burst": lambda: drive.burst(plan.events)}, plan.repeats)["burst"]
        rates = [burst.events_per_s for burst in bursts]
        case = {"broker": broker.name, "workers": plan.workers}
        cpu = [burst.cpu_us_per_event for burst in bursts]
        run.add("saturation", case, {"events_per_s": rates, "worker_cpu_us_per_event": cpu})
        most = float(np.median(rates))
        offered = {f"{share:g}": share * most for share in plan.loads}
        if plan.rates:
            offered = {f"{rate / most:.2g}": rate for rate in plan.rates}
        loads = {
            share: partial(drive.offer, rate, plan.seconds, plan.warm_up_s)
            for share, rate in offered.items()
        }
        for share, repetitions in alternate(loads, plan.repeats, warm_up=0).items():
            names = repetitions[0]
            figures = {name: [found[name] for found in repetitions] for name in names}
            about = {"load": float(share), "offered_per_s": round(offered[share])}
            run.add("latency", {**case, **about}, figures)


@dataclass(frozen=True)
class Burst:
    """What came of events published at once."""

    events_per_s: float
    cpu_us_per_event: float
    """Processor time of all workers."""


class Drive:
    """Puts load on workers and measures what comes of it.

    Args:
        made: topics and settings.
        workers: that serve them.
        progress: of their group.
        shop: draws the events.
        folder: for what is to be sent.
    """

    def __init__(
        self, made: Stand, workers: Sequence[Worker], progress: Progress, shop: Shop, folder: Path
    ) -> None:
        self._stand = made
        self._workers = workers
        self._children: list[Child] = [worker.child for worker in workers]
        self._progress = progress
        self._shop = shop
        self._folder = folder
        self._published = self._turn = 0

    def burst(self, events: int) -> Burst:
        """Publish events as fast as the broker takes them, and see how fast they are processed.

        Raises:
            BenchError: the embedded broker could not keep them all, or they take too long.
        """
        self._turn += 1
        records = encoded(self._shop.events(events, self._turn, f"b{self._turn:05d}-"))
        size = sum(len(key) + len(value) for key, value in records)
        if self._stand.broker.name == "embedded" and size > EMBEDDED_BYTES:
            raise BenchError(
                f"{events:,} events are {size:,} bytes; the embedded broker keeps "
                f"{EMBEDDED_BYTES:,} that nobody has read: take fewer with --events"
            )
        before, sent, cpu = self._published, time.monotonic(), self._cpu_seconds()
        self._stand.publish(self._stand.clickstream, records)
        self._published += events
        first = before + round(_FIRST * events)
        begin, begun = self._wait_for(first)
        end, done = self._wait_for(self._published)
        cpu_us = 1e6 * (self._cpu_seconds() - cpu) / events
        if done > begun:
            return Burst((done - begun) / (end - begin), cpu_us)
        return Burst(events / (end - sent), cpu_us)  # so few that the first look found all done

    def _cpu_seconds(self) -> float:
        return sum(worker.cpu_seconds() for worker in self._workers)

    def _wait_for(self, count: int) -> tuple[float, int]:
        return self._progress.wait_for(count, self._children, _WITHIN_S)

    def offer(self, rate: float, seconds: float, warm_up_s: float) -> dict[str, float]:
        """Send events at a rate and return the quantiles of their latency, milliseconds.

        Raises:
            BenchError: an event was not answered in time.
        """
        self._turn += 1
        count = max(1, round(rate * (seconds + warm_up_s)))
        now = time.time_ns() // 1_000_000
        times = [now + round(1000.0 * number / rate) for number in range(count)]
        events = self._shop.events(count, self._turn, f"l{self._turn:05d}-", times)
        waiting = Waiting([e.event_id for e in events], [e.user_id for e in events])
        config = self._stand.settings.kafka.producer_config(**{"linger.ms": _LINGER_MS})
        order = Order(config, self._stand.clickstream, rate, encoded(events))
        with Subscriber(self._stand) as subscriber, Sender(order, self._folder) as sender:
            start = sender.start()
            subscriber.read(waiting, start + count / rate + _PATIENCE_S, self._check)
            if waiting.missing:
                raise BenchError(
                    f"{waiting.missing:,} of {count:,} events at {rate:,.0f}/s were not answered "
                    f"within {_PATIENCE_S:g} s of the last"
                )
            sent = sender.finish()
        self._published += count
        latencies = waiting.answered_at - np.array(due_times(start, count, rate))
        counted = latencies[min(round(rate * warm_up_s), count - 1) :]
        return {
            **{name: 1000.0 * float(np.quantile(counted, q)) for name, q in QUANTILES.items()},
            "sender_worst_lateness_ms": 1000.0 * sent.worst_lateness_s,
            "events_per_repetition": float(len(counted)),
        }

    def _check(self) -> None:
        for child in self._children:
            child.check()
