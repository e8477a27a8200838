"""`innerloop bench soak`: hours at a steady load; does memory stay, does a backlog grow?

Rounds of an open loop (see `worker.bench.pipeline`), one after the other, on one worker that is
never started again. After each round: the latencies of its events, what the worker holds of memory,
and how many events were still unanswered a moment after the last was sent.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from schemas.errors import BenchError
from worker.bench.brokers import BrokerName, running_broker
from worker.bench.hardware import describe
from worker.bench.pipeline import Drive
from worker.bench.processor_time import resident_bytes
from worker.bench.progress import Progress
from worker.bench.report import Report, Run
from worker.bench.stand import Worker, stand
from worker.bench.workload import BIAS, Workload
from worker.demo.children import Children

_LOG = logging.getLogger(__name__)

_BURSTS = 3
_MIB = 1 << 20


@dataclass(frozen=True)
class SoakPlan:
    """What to measure."""

    minutes: float = 30.0
    """Under load, all rounds together."""
    round_s: float = 30.0
    load: float = 0.5
    """Offered, as a share of the rate at saturation measured just before."""
    rate: float | None = None
    """Offered, in events per second, in place of `load`."""
    events: int = 20_000
    """Of a burst, to find the rate at saturation."""
    broker: BrokerName = "kafka"
    workload: Workload = field(default_factory=Workload)


def run_soak(plan: SoakPlan, folder: Path) -> Report:
    """Measure.

    Args:
        plan: what to measure.
        folder: for the bundle, settings and logs; nothing of it is needed afterwards.

    Raises:
        BrokerError: the broker does not start.
        BenchError: an event is not answered, or a process ends.
    """
    rounds = round(60.0 * plan.minutes / plan.round_s)
    if rounds < 2:
        raise BenchError(
            f"{plan.minutes:g} minutes are fewer than two rounds of {plan.round_s:g} s: take more "
            "with --minutes"
        )
    bundle, shop = plan.workload.prepare(folder)
    settings = {
        **plan.workload.described(),
        "resident_users": plan.workload.settings.worker.resident_users,
        "minutes": plan.minutes,
        "round_s": plan.round_s,
        "broker": plan.broker,
    }
    run = Run("soak", describe(), settings, _BIAS)
    with (
        running_broker(plan.broker) as broker,
        stand(plan.workload.settings, broker, folder, bundle, plan.workload.partitions) as made,
        Progress(made) as progress,
        Children(folder / "logs") as children,
    ):
        made.publish_catalogue(shop)
        (worker,) = made.start_workers(children)
        drive = Drive(made, [worker], progress, shop, folder)
        rate = plan.rate or plan.load * _saturation(run, drive, plan.events)
        _soak(run, plan, drive, worker, rate=rate, rounds=rounds)
    return run.report()


_BIAS = [
    *BIAS,
    "The load pauses between two rounds while the events of the next are drawn and encoded.",
    "Memory is the worker's resident set; a growth of less than the spread between rounds cannot "
    "be told from none.",
]


def _saturation(run: Run, drive: Drive, events: int) -> float:
    bursts = [drive.burst(events) for _ in range(1 + _BURSTS)][1:]
    rates = [burst.events_per_s for burst in bursts]
    run.add("saturation", {}, {"events_per_s": rates})
    return float(np.median(rates))


def _soak(
    run: Run, plan: SoakPlan, drive: Drive, worker: Worker, *, rate: float, rounds: int
) -> None:
    held: list[float] = []
    for number in range(rounds):
        found = drive.offer(rate, plan.round_s, 0.0)
        held.append(resident_bytes(worker.child.pid) / _MIB)
        case = {
            "minute": round((number + 1) * plan.round_s / 60.0, 2),
            "offered_per_s": round(rate),
        }
        figures = {
            "p50_ms": [found["p50_ms"]],
            "p99_ms": [found["p99_ms"]],
            "max_ms": [found["max_ms"]],
            "resident_mib": [held[-1]],
            "events": [found["events_per_repetition"]],
        }
        run.add("round", case, figures)
        _LOG.info("%s %s", case, figures)  # a round that fails ends the run without a report
    run.add("growth", {}, {"mib_per_hour": [growth_per_hour(held, plan.round_s)]})


def growth_per_hour(held: list[float], round_s: float) -> float:
    """Return the slope of the second half of equally spaced values, by least squares.

    In the first half tables and caches fill up.

    Args:
        held: at least two, one after each round.
        round_s: seconds of a round.
    """
    late = np.array(held[len(held) // 2 :] if len(held) >= 4 else held)
    hours = np.arange(len(late)) * round_s / 3600.0
    return float(np.polyfit(hours, late, 1)[0])
