"""`innerloop bench engines`: the same job by the worker, in Faust and in Quix Streams.

Decode, fold, the same adapt and rank code, and publish a recommendation and a state; events per
second at saturation: for the worker by the offsets that it commits, for the engines, which commit
when they please, by the recommendations that come out.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import msgspec

from schemas.errors import BenchError
from schemas.topics import Topic
from worker.bench.brokers import Broker, running_broker
from worker.bench.engines.environment import environment
from worker.bench.engines.job import Order
from worker.bench.hardware import describe
from worker.bench.pipeline import Burst
from worker.bench.processor_time import cpu_seconds
from worker.bench.progress import Progress
from worker.bench.repetition import alternate
from worker.bench.report import Report, Run, Value
from worker.bench.shop import Shop, encoded
from worker.bench.stand import Ends, Stand, stand
from worker.bench.workload import BIAS, Workload
from worker.demo.children import Children

_WITHIN_S = 900.0
_STEP_S = 0.02
_BATCH_WAIT_MS = 20
"""Engines wait at least so long for micro-batches to fill: else they are of one record."""
_FIRST = 0.1
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Engine:
    """A framework, and the script with the job in it."""

    name: str
    packages: tuple[str, ...]
    modules: tuple[str, ...]
    """That the packages bring."""
    script: str
    arguments: tuple[str, ...] = ()


ENGINES = (
    # cramjam is what reads lz4, in which innerloop's clients write.
    Engine("faust", ("faust-streaming", "cramjam"), ("faust", "cramjam"), "faust_app.py"),
    Engine("quix_each", ("quixstreams",), ("quixstreams",), "quix_app.py", ("each",)),
    Engine("quix_batches", ("quixstreams",), ("quixstreams",), "quix_app.py", ("batches",)),
)
WORKER = "worker"
NAMES = (WORKER, *(engine.name for engine in ENGINES))


@dataclass(frozen=True)
class EnginesPlan:
    """What to measure."""

    engines: tuple[str, ...] = NAMES
    events: int = 30_000
    repeats: int = 5
    environments: Path | None = None
    """Folder for the engines' environments, kept for the next time; None makes them anew."""
    workload: Workload = field(default_factory=Workload)


def run_engines(plan: EnginesPlan, folder: Path) -> Report:
    """Measure; an engine that cannot be installed is skipped.

    Args:
        plan: what to measure.
        folder: for the bundle, settings and logs; nothing of it is needed afterwards.

    Raises:
        BrokerError: Apache Kafka does not start.
        BenchError: an engine is unknown, or does not get on.
    """
    for name in plan.engines:
        if name not in NAMES:
            raise BenchError(f"the engine {name!r} is unknown; there are: {', '.join(NAMES)}")
    workload = replace(plan.workload, memory=False)
    bundle, shop = workload.prepare(folder)
    settings: dict[str, Value | list[Value]] = {
        **workload.described(),
        "events": plan.events,
        "repeats": plan.repeats,
    }
    run = Run("engines", describe(), settings, _BIAS)
    with running_broker("kafka") as broker:
        if WORKER in plan.engines:
            with _stand(workload, broker, folder / WORKER, bundle) as made:
                run.add(WORKER, {}, _worker(plan, made, shop, folder))
        for engine in ENGINES:
            if engine.name in plan.engines:
                with _stand(workload, broker, folder / engine.name, bundle) as made:
                    _add(run, plan, engine, made, shop=shop, bundle=bundle)
    return run.report()


_BIAS = [
    *BIAS,
    "The engines run one after the other, not in turns: an idle one would still take cores.",
    "The engines keep users in the job's own memory instead of their tables, put states on a topic "
    "themselves, and check neither key nor size of records: all of that favours them.",
    "No item memory, for the worker neither.",
    "quix_each adapts and ranks one event at a time, as a StreamingDataFrame does; quix_batches "
    "gets micro-batches out of a sink.",
]


@contextmanager
def _stand(workload: Workload, broker: Broker, folder: Path, bundle: Path) -> Iterator[Stand]:
    folder.mkdir(parents=True)
    with stand(workload.settings, broker, folder, bundle, workload.partitions) as made:
        yield made


def _worker(plan: EnginesPlan, made: Stand, shop: Shop, folder: Path) -> dict[str, list[float]]:
    with Children(folder / "logs") as children:
        made.publish_catalogue(shop)
        (worker,) = made.start_workers(children)
        with Progress(made) as progress:
            pid, check = worker.child.pid, worker.child.check
            return _rates(plan, _Bursts(made, shop, progress.committed, check, pid))


def _add(
    run: Run, plan: EnginesPlan, engine: Engine, made: Stand, *, shop: Shop, bundle: Path
) -> None:
    environments = plan.environments or made.folder / "environments"
    try:
        env = environment(engine.packages, engine.modules, environments / engine.packages[0])
    except BenchError as error:
        run.skip(engine.name, str(error))
        return
    order = made.folder / "order.json"
    order.write_bytes(msgspec.json.encode(_order(made, bundle)))
    log = made.folder / "engine.log"
    command = [str(env.python), str(_HERE / engine.script), str(order), *engine.arguments]
    with log.open("wb") as said:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=env.variables,
            start_new_session=True,
        )  # fmt: skip

    def check() -> None:
        if process.poll() is not None:
            tail = log.read_text(errors="replace").strip()[-1500:]
            raise BenchError(f"{engine.name} ended with status {process.returncode}:\n{tail}")

    try:
        with Ends(made, Topic.RECOMMENDATIONS) as ends:
            bursts = _Bursts(made, shop, lambda: sum(ends.now().values()), check, process.pid)
            rates = _rates(plan, bursts)
        run.add(engine.name, {}, rates)
    finally:
        process.kill()
        process.wait()


def _order(made: Stand, bundle: Path) -> Order:
    kafka, worker = made.settings.kafka, made.settings.worker
    return Order(
        bootstrap_servers=kafka.bootstrap_servers,
        group_id=f"{kafka.topic_prefix}engine",
        clickstream=made.clickstream,
        recommendations=kafka.topic(Topic.RECOMMENDATIONS),
        user_state=kafka.topic(Topic.USER_STATE),
        partitions=made.partitions,
        bundle=str(bundle.resolve()),
        folder=str(made.folder),
        batch_events=worker.batch_events,
        batch_wait_s=max(worker.batch_wait_ms, _BATCH_WAIT_MS) / 1000.0,
        top_k=worker.top_k,
        recent_events=worker.recent_events,
        threads=worker.threads,
    )


def _rates(plan: EnginesPlan, bursts: _Bursts) -> dict[str, list[float]]:
    found = alternate({"burst": partial(bursts.run, plan.events)}, plan.repeats)["burst"]
    rates, cpu_us = [burst.events_per_s for burst in found], [b.cpu_us_per_event for b in found]
    return {
        "events_per_s": rates,
        "us_per_event": [1e6 / rate for rate in rates],
        "cpu_us_per_event": cpu_us,
    }


class _Bursts:
    """Publishes events at once and sees how fast they are answered.

    Args:
        made: of the topics.
        shop: draws the events.
        answered: counts the events answered so far.
        check: raises if the process has ended.
        pid: of the process.
    """

    def __init__(
        self,
        made: Stand,
        shop: Shop,
        answered: Callable[[], int],
        check: Callable[[], None],
        pid: int,
    ) -> None:
        self._stand = made
        self._shop = shop
        self._answered = answered
        self._check = check
        self._pid = pid
        self._turn = 0

    def run(self, events: int) -> Burst:
        self._turn += 1
        records = encoded(self._shop.events(events, self._turn, f"e{self._turn:05d}-"))
        before, sent, cpu = self._answered(), time.monotonic(), cpu_seconds(self._pid)
        self._stand.publish(self._stand.clickstream, records)
        begin, begun = self._wait_for(before + round(_FIRST * events))
        end, done = self._wait_for(before + events)
        cpu_us = 1e6 * (cpu_seconds(self._pid) - cpu) / events
        rate = (done - begun) / (end - begin) if done > begun else events / (end - sent)
        return Burst(rate, cpu_us)

    def _wait_for(self, count: int) -> tuple[float, int]:
        deadline = time.monotonic() + _WITHIN_S
        while (done := self._answered()) < count:
            self._check()
            if time.monotonic() > deadline:
                raise BenchError(f"{done:,} of {count:,} answers came in {_WITHIN_S:g} s")
            time.sleep(_STEP_S)
        return time.monotonic(), done
