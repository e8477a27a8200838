"""`innerloop bench growth`: how the cost of an event grows with what there is more of.

- `users` and `catalogue`: micro-batches through the worker's stages fold, encode, adapt and rank,
  in this process and without a broker, with so many users known and so many items;
- `storms`: likewise, with so many events of a user in a micro-batch, each answered by a list of its
  own, and the last of each user alone (`worker.coalesce`);
- `partitions` and `workers`: events per second of real workers on Apache Kafka, at saturation.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch

from schemas.errors import BenchError
from schemas.settings import Settings
from worker.bench.brokers import BrokerName, running_broker
from worker.bench.hardware import describe
from worker.bench.in_process import InProcess
from worker.bench.pipeline import Drive
from worker.bench.progress import Progress
from worker.bench.repetition import alternate
from worker.bench.report import Report, Run, Value
from worker.bench.stand import stand
from worker.bench.workload import BIAS, Workload
from worker.demo.children import Children
from worker.threads import serving_threads

AXES = ("users", "catalogue", "storms", "partitions", "workers")


@dataclass(frozen=True)
class GrowthPlan:
    """What to measure."""

    axes: tuple[str, ...] = AXES
    users: tuple[int, ...] = (1_000, 10_000, 100_000)
    resident: int = 10_000
    """Along `users`, more are measured with no more held ready than this, the others on disk."""
    most_ready: int = 100_000
    """Along `users`, so many or fewer are also measured all held ready."""
    items: tuple[int, ...] = (1_000, 10_000, 48_000)
    storms: tuple[int, ...] = (1, 2, 8)
    partitions: tuple[int, ...] = (2, 8, 32)
    workers: tuple[int, ...] = (1, 2)
    broker: BrokerName = "kafka"
    batches: int = 8
    """Micro-batches of a repetition, in process."""
    events: int = 10_000
    """Of a repetition, at saturation."""
    repeats: int = 5
    workload: Workload = field(default_factory=Workload)


def run_growth(plan: GrowthPlan, folder: Path) -> Report:
    """Measure.

    Args:
        plan: what to measure.
        folder: for bundles, settings and logs; nothing of it is needed afterwards.

    Raises:
        BrokerError: the broker does not start.
        BenchError: a process does not get on, or an axis cannot be varied.
    """
    for axis in plan.axes:
        if axis not in AXES:
            raise BenchError(f"--over {axis} is unknown; there are: {', '.join(AXES)}")
    if plan.broker == "embedded" and "partitions" in plan.axes:
        raise BenchError("the embedded broker has 4 partitions: --over partitions needs kafka")
    settings: dict[str, Value | list[Value]] = {
        **plan.workload.described(),
        "axes": list(plan.axes),
        "batches": plan.batches,
        "events": plan.events,
        "repeats": plan.repeats,
        "broker": plan.broker,
    }
    run = Run("growth", describe("cpu"), settings, _BIAS)
    base = plan.workload
    if "users" in plan.axes:
        _in_process(run, plan, "users", _over_users(plan, folder), folder)
    if "catalogue" in plan.axes:
        _in_process(run, plan, "catalogue", [replace(base, items=n) for n in plan.items], folder)
    if "storms" in plan.axes:
        _in_process(run, plan, "storms", [base] * len(plan.storms), folder, storms=plan.storms)
    if "partitions" in plan.axes:
        cases = [(replace(base, partitions=n), 1) for n in plan.partitions]
        _saturated(run, plan, "partitions", cases, folder)
    if "workers" in plan.axes:
        _saturated(run, plan, "workers", [(base, n) for n in plan.workers], folder)
    return run.report()


def _over_users(plan: GrowthPlan, folder: Path) -> list[Workload]:
    base = plan.workload
    ready = [replace(base, users=n) for n in plan.users if n <= plan.most_ready]
    return ready + [
        replace(base, users=n, settings=_limited(base.settings, plan.resident, folder / f"{n}"))
        for n in plan.users
        if n > plan.resident
    ]


def _limited(settings: Settings, resident: int, folder: Path) -> Settings:
    """Return settings of a worker that holds so many users ready, the others in this folder."""
    worker = settings.worker.model_copy(update={"resident_users": resident, "state_folder": folder})
    return settings.model_copy(update={"worker": worker})


_BIAS = [
    *BIAS,
    "In process, a micro-batch takes users at random, so that most of those not held ready have to "
    "come back: real users come in sessions.",
    "Workers on one machine share its cores: near-linear growth can only show while some are free.",
    "The points along `partitions` and `workers` are measured one after the other, not in turns.",
]


@dataclass(frozen=True)
class _Point:
    """A point to measure in process."""

    workload: Workload
    storm: int
    """Events of each user of a micro-batch in it."""
    coalesce: bool


def _in_process(
    run: Run,
    plan: GrowthPlan,
    axis: str,
    workloads: Sequence[Workload],
    folder: Path,
    *,
    storms: Sequence[int] = (),
) -> None:
    """Measure all points of an axis in turns; those of storms with coalescing and without."""
    torch.manual_seed(plan.workload.seed)
    points = [
        _Point(workload, storm, coalesce)
        for workload, storm in zip(workloads, storms or [1] * len(workloads), strict=True)
        for coalesce in ((False, True) if storms else (False,))
    ]
    places = {}
    for number, point in enumerate(points):
        made = folder / f"{axis}-{number}"
        bundle, shop = point.workload.prepare(made)
        worker = point.workload.settings.worker.model_copy(update={"coalesce": point.coalesce})
        places[f"{number}"] = InProcess(bundle, shop, worker, storm=point.storm)
        shutil.rmtree(made, ignore_errors=True)

    def micro_batches(place: InProcess) -> float:
        events = place.batches(plan.batches)
        begin = time.perf_counter()
        for batch in events:
            place.process(batch)
        return (time.perf_counter() - begin) / sum(len(batch) for batch in events)

    variants: dict[str, Callable[[], float]] = {
        name: partial(micro_batches, place) for name, place in places.items()
    }
    with serving_threads(plan.workload.settings.worker.threads):
        measured = alternate(variants, plan.repeats)
    for name, seconds in measured.items():
        point, place = points[int(name)], places[name]
        case: dict[str, Value] = {
            "users": point.workload.users,
            "resident": point.workload.settings.worker.resident_users,
            "items": place.items,
            "batch_events": place.batch_events,
        }
        if storms:
            case |= {"events_of_a_user": point.storm, "coalesce": point.coalesce}
        figures = {
            "us_per_event": [1e6 * s for s in seconds],
            "events_per_s": [1.0 / s for s in seconds],
        }
        run.add(axis, case, figures)
    for place in places.values():
        place.close()


def _saturated(
    run: Run, plan: GrowthPlan, axis: str, cases: Sequence[tuple[Workload, int]], folder: Path
) -> None:
    """Measure the points of an axis, each with topics and workers of its own."""
    made = folder / axis
    bundle, shop = plan.workload.prepare(made)
    with running_broker(plan.broker) as broker:
        for workload, workers in cases:
            with (
                stand(workload.settings, broker, made, bundle, workload.partitions) as here,
                Progress(here) as progress,
                Children(made / "logs") as children,
            ):
                here.publish_catalogue(shop)
                drive = Drive(here, here.start_workers(children, workers), progress, shop, made)
                bursts = {"burst": partial(drive.burst, plan.events)}
                found = alternate(bursts, plan.repeats)["burst"]
                rates = [burst.events_per_s for burst in found]
                case = {"partitions": here.partitions, "workers": workers}
                figures = {
                    "us_per_event": [1e6 / rate for rate in rates],
                    "events_per_s": rates,
                    "worker_cpu_us_per_event": [burst.cpu_us_per_event for burst in found],
                }
                run.add(axis, case, figures)
