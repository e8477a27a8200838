"""`innerloop bench policy`: what each part of the ranking policy costs, per event ranked."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch

from schemas.clickstream import EVENT_TYPE_INDEX, EventType
from schemas.settings import PolicySettings, Restriction, ScoreRule
from worker.bench.hardware import describe
from worker.bench.ranking_case import RankingCase, made_up_case
from worker.bench.repetition import alternate
from worker.bench.report import Report, Run, Value
from worker.bench.shop import Shop
from worker.bench.stopwatch import Stopwatch
from worker.catalogue import ItemChange
from worker.policy.policy import Policy
from worker.stages.rank import MemoryStep, rank

_BRANDS, _DEPARTMENTS = 300, 20
_RESTRICTED = Restriction(surface="department", categories=("department 3", "department 7"))

POLICIES: dict[str, PolicySettings] = {
    "none": PolicySettings(),
    "leave out purchased": PolicySettings(leave_out="purchased"),
    "leave out seen": PolicySettings(leave_out="seen"),
    "two of 20 categories": PolicySettings(restrictions=(_RESTRICTED,)),
    "boost a brand, bury a category": PolicySettings(
        rules=(
            ScoreRule(brand="brand 5", add=0.7),
            ScoreRule(category="department 2", add=-0.7),
        )
    ),
    "two of a brand": PolicySettings(brand_cap=2),
    "diversity": PolicySettings(diversity=0.3),
    "exploration by epsilon": PolicySettings(exploration="epsilon"),
    "exploration by posterior": PolicySettings(exploration="posterior"),
    "types in reasons": PolicySettings(reason_types=True),
    "all of these": PolicySettings(
        leave_out="purchased",
        restrictions=(_RESTRICTED,),
        rules=(ScoreRule(brand="brand 5", add=0.7),),
        brand_cap=2,
        diversity=0.3,
        exploration="posterior",
        reason_types=True,
    ),
}
"""By name; the first one is what the others are held against."""


@dataclass(frozen=True)
class PolicyPlan:
    """What to measure."""

    items: int = 48_000
    users: int = 256
    """Ranked in one call: a micro-batch."""
    dim: int = 96
    k: int = 20
    device: str = "cpu"
    repeats: int = 5
    at_least_s: float = 0.3
    """Each measurement repeats its call for so long."""
    quick: bool = False


def run_policies(plan: PolicyPlan, folder: Path) -> Report:
    """Measure the stage `rank` under each of `POLICIES`, without an item memory and with one.

    Args:
        plan: what to measure.
        folder: for made-up bundles.
    """
    settings: dict[str, Value] = {
        "users_in_a_call": plan.users,
        "items": plan.items,
        "dim": plan.dim,
        "k": plan.k,
        "repeats": plan.repeats,
        "at_least_s": plan.at_least_s,
        "data": "made up",
    }
    run = Run("policy", describe(plan.device), settings, _BIAS)
    for memory in (False, True):
        made = folder / f"bundle-{memory}"
        case = made_up_case(
            plan.items, plan.users, dim=plan.dim, k=plan.k, device=plan.device, folder=made,
            memory=memory,
        )  # fmt: skip
        _label(case, plan.items)
        _measure(run, plan, case)
        shutil.rmtree(made)
    return run.report()


_BIAS = [
    "What is timed is the stage `rank` and what a policy asks of it; what it costs to know users' "
    "event types and surfaces, and to write propensities, is not in it.",
    "All events are on the restricted surface where a policy restricts one.",
    "With one thread on a CPU it is the thread's CPU time, else the clock.",
    "Users are ranked over and over, so caches are warm; made-up items are alike in groups of 40.",
]


def _label(case: RankingCase, items: int) -> None:
    """Give the made-up items brands and categories."""
    draw = np.random.default_rng(2)
    weights = 1.0 / np.arange(1, _BRANDS + 1)
    brands = draw.choice(_BRANDS, items, p=weights / weights.sum()).tolist()
    labelled = [
        msgspec.structs.replace(
            item,
            brand=f"brand {brands[n]}",
            categories=(f"department {n % _DEPARTMENTS}", f"aisle {n % (7 * _DEPARTMENTS)}"),
        )
        for n, item in enumerate(Shop.of_size(items, 1).items())
    ]
    case.catalogue.apply([ItemChange(item.item_id, item) for item in labelled])


def _measure(run: Run, plan: PolicyPlan, case: RankingCase) -> None:
    on_cpu = plan.device == "cpu" and torch.get_num_threads() == 1
    watch = _CpuWatch(plan.at_least_s) if on_cpu else Stopwatch(
        torch.device(plan.device), plan.at_least_s
    )  # fmt: skip
    works = {name: _work(case, settings) for name, settings in POLICIES.items()}
    taken = alternate(
        {name: _timed(watch, work) for name, work in works.items()},
        plan.repeats,
    )
    plain, n = next(iter(taken.values())), len(case.queries)
    for name, seconds in taken.items():
        figures = {
            "us_per_event": [1e6 * s / n for s in seconds],
            "ratio": [s / other for s, other in zip(seconds, plain, strict=True)],
        }
        run.add(name, {"item_memory": case.memory is not None}, figures)


def _work(case: RankingCase, settings: PolicySettings) -> Callable[[], object]:
    policy, n = Policy.of(settings, case.catalogue, case.k), len(case.queries)
    draw = np.random.default_rng(1)
    seeds = draw.integers(0, 2**63, n).astype(np.uint64)
    kinds = [EVENT_TYPE_INDEX[kind] for kind in (EventType.VIEW, EventType.PURCHASE)]
    types = draw.choice(kinds, case.recent_rows.shape, p=(0.8, 0.2)).astype(np.uint8)
    groups = np.full(n, 1 if settings.restrictions else 0, np.int64)
    memory = None if case.memory is None else MemoryStep(case.memory)

    def work() -> object:
        asked = None
        if policy is not None:
            asked = policy.for_queries(groups, case.recent_rows, types, seeds)
        return rank(
            case.queries, case.recent_rows, case.catalogue, case.model, case.k,
            memory=memory, policy=asked,
        )  # fmt: skip

    return work


class _CpuWatch:
    """Times calls by the thread's own CPU time, which other work on the machine adds little to."""

    def __init__(self, at_least_s: float) -> None:
        self._at_least_s = at_least_s

    def seconds(self, work: Callable[[], object]) -> float:
        """Return the seconds that a call takes, a mean over calls in a row."""
        calls, begin = 0, time.thread_time()
        while calls == 0 or time.thread_time() - begin < self._at_least_s:
            work()
            calls += 1
        return (time.thread_time() - begin) / calls


def _timed(watch: Stopwatch | _CpuWatch, work: Callable[[], object]) -> Callable[[], float]:
    return lambda: watch.seconds(work)
