"""`innerloop bench ranking`: users ranked per second, and recall@k, over the catalogue's size."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.errors import BenchError
from worker.bench.ceilings import ceilings
from worker.bench.hardware import describe
from worker.bench.ranking_case import RankingCase, RealData, made_up_case, real_case
from worker.bench.ranking_methods import EXACT, METHODS, Ranker, RankingMethod
from worker.bench.repetition import alternate
from worker.bench.report import Report, Run, Value
from worker.bench.stopwatch import Stopwatch

_RECALL_AT_ONCE = 64
_TIE = 1e-5


@dataclass(frozen=True)
class RankingPlan:
    """What to measure."""

    items: tuple[int, ...] = (10_000, 48_000, 200_000)
    """Sizes of made-up catalogues; not looked at where there is `real` data."""
    users: int = 512
    """Ranked in one call: a micro-batch."""
    dim: int = 96
    k: int = 20
    device: str = "cpu"
    repeats: int = 5
    at_least_s: float = 0.3
    """Each measurement repeats its call for so long."""
    real: RealData | None = None
    quick: bool = False
    methods: tuple[str, ...] = ()
    """Names among `METHODS`; none takes all."""


def run_ranking(plan: RankingPlan, folder: Path) -> Report:
    """Measure.

    Args:
        plan: what to measure.
        folder: for made-up bundles.

    Raises:
        BenchError: a method is not known.
        BundleError: a bundle is none.
        DataError: a file cannot be used.
    """
    methods = _chosen(plan.methods)
    device = torch.device(plan.device)
    settings: dict[str, Value] = {
        "users_in_a_call": plan.users,
        "k": plan.k,
        "repeats": plan.repeats,
        "at_least_s": plan.at_least_s,
        "matmul_precision": torch.get_float32_matmul_precision(),
        "data": "made up" if plan.real is None else plan.real.events.name,
    }
    run = Run("ranking", describe(plan.device), settings, _BIAS)
    limits = [ceilings(device, quick=plan.quick) for _ in range(2 if plan.quick else 3)]
    run.add("ceiling", {}, {name: [found[name] for found in limits] for name in limits[0]})
    if plan.real is not None:
        case = real_case(plan.real, plan.users, k=plan.k, device=plan.device)
        _measure(run, plan, case, methods)
        return run.report()
    for items in plan.items:
        made = folder / f"bundle-{items}"
        case = made_up_case(
            items, plan.users, dim=plan.dim, k=plan.k, device=plan.device, folder=made
        )
        _measure(run, plan, case, methods)
        shutil.rmtree(made)
    return run.report()


_BIAS = [
    "Methods `brute_force…` give rows alone; `worker…` is all of the stage `rank`: items that are "
    "not available left out, ties in order, the reason of each item.",
    "Achieved FLOP/s and bytes/s count one product of the queries with the whole catalogue in "
    "float32, read once a call, whatever a method does: they can exceed what it really does.",
    "Made-up vectors are noise around the centre of a group of 40: an index finds neighbours in "
    "trained ones at another price. --bundle, --items-file and --events-file take real ones.",
    "Users are ranked over and over, so an index and its caches are warm.",
]


def _chosen(names: Sequence[str]) -> list[RankingMethod]:
    known = {method.name: method for method in METHODS}
    for name in names:
        if name not in known:
            raise BenchError(f"the method {name!r} is unknown; there are: {', '.join(known)}")
    return [known[name] for name in names] if names else METHODS


def _measure(
    run: Run, plan: RankingPlan, case: RankingCase, methods: Sequence[RankingMethod]
) -> None:
    """Measure all methods on one case, in turns."""
    usable = [m for m in methods if m.kind == "dense" or case.memory is not None]
    for method in methods:
        if method not in usable:
            run.skip(method.name, "the bundle has no item memory")
    rankers = {method.name: method.prepare(case) for method in usable}
    recalls = {m.name: recall(m, rankers[m.name], case) for m in usable}
    watch = Stopwatch(torch.device(plan.device), plan.at_least_s)
    taken = alternate(
        {name: _timed(watch, ranker, case) for name, ranker in rankers.items()}, plan.repeats
    )
    users, items = len(case.queries), len(case.catalogue.vectors)
    dim = case.queries.shape[1]
    for name, seconds in taken.items():
        figures = {
            "users_per_s": [users / s for s in seconds],
            "ms_per_call": [1000.0 * s for s in seconds],
            f"recall_at_{case.k}": [recalls[name]],
            "gflops_per_s": [2.0 * users * items * dim / s / 1e9 for s in seconds],
            "gbytes_per_s": [4.0 * items * dim / s / 1e9 for s in seconds],
        }
        run.add(name, {"items": items, "users": users, "dim": dim}, figures)


def _timed(watch: Stopwatch, ranker: Ranker, case: RankingCase) -> Callable[[], float]:
    def work() -> object:
        return ranker(case)

    return lambda: watch.seconds(work)


def recall(method: RankingMethod, ranker: Ranker, case: RankingCase) -> float:
    """Return the share of a method's lists that belongs there: recall@k.

    By score, not by row: an item as good as the exact list's last one belongs there.
    """
    listed = ranker(case)
    rows = listed.cpu() if isinstance(listed, Tensor) else torch.from_numpy(listed)
    right = 0
    for start in range(0, len(rows), _RECALL_AT_ONCE):
        part = slice(start, start + _RECALL_AT_ONCE)
        right += _right(EXACT[method.kind](case.part(part)).cpu(), rows[part], case.k)
    return right / (len(rows) * min(case.k, len(case.catalogue.vectors)))


def _right(scores: Tensor, rows: Tensor, k: int) -> int:
    """Return how many of these rows are among the best k by these scores, each counted once."""
    last = torch.topk(scores, min(k, scores.shape[1]), dim=1).values[:, -1:]
    found: NDArray[np.bool_] = (
        (scores.gather(1, rows.clamp(min=0)) >= last - _TIE * last.abs()) & (rows >= 0)
    ).numpy()
    lists = zip(rows.tolist(), found, strict=True)
    return sum(len({r for r, ok in zip(listed, good, strict=True) if ok}) for listed, good in lists)
