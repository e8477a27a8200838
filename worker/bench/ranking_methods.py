"""The ways to rank that `innerloop bench ranking` compares. Add another one to `METHODS`.

A method is prepared once for a case (an index is built there, say) and then called with users. It
is held against the exact scores of its kind: inner products, or those with the item memory mixed
in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.bench.ranking_case import RankingCase
from worker.model.mixing import score
from worker.stages.rank import MemoryStep, rank

Kind = Literal["dense", "memory"]
Ranker = Callable[[RankingCase], NDArray[np.int64] | Tensor]
"""Returns catalogue rows of the best items of the case's users, best first, (n, k)."""


@dataclass(frozen=True)
class RankingMethod:
    """A way to rank."""

    name: str
    kind: Kind
    """What it ranks by: inner products (and the shift of recent items), or with the memory, too."""
    prepare: Callable[[RankingCase], Ranker]
    """Called with all users, before anything is timed."""


def brute_force(case: RankingCase) -> Tensor:
    """Rank by one float32 product with the whole catalogue and `torch.topk`."""
    scores = exact_scores(case)
    return torch.topk(scores, case.k, dim=1).indices


@torch.inference_mode()
def exact_scores(case: RankingCase) -> Tensor:
    """Return what the kind `dense` ranks by, (n, items)."""
    scores = case.queries @ case.catalogue.vectors.T
    case.model.shift_repeats(scores, torch.from_numpy(case.recent_rows).to(scores.device))
    return scores


def brute_force_memory(case: RankingCase) -> Tensor:
    """Rank the same way by the scores with the item memory mixed in."""
    return torch.topk(exact_memory_scores(case), case.k, dim=1).indices


@torch.inference_mode()
def exact_memory_scores(case: RankingCase) -> Tensor:
    """Return what the kind `memory` ranks by, (n, items)."""
    assert case.memory is not None
    events = MemoryStep(case.memory).events(case.recent_rows)
    return case.model.mix(score(case.queries, case.catalogue.vectors, case.memory, events))


def _worker(case: RankingCase) -> NDArray[np.int64]:
    return rank(case.queries, case.recent_rows, case.catalogue, case.model, case.k).rows


def _worker_memory(case: RankingCase) -> NDArray[np.int64]:
    assert case.memory is not None
    memory = MemoryStep(case.memory)
    ranked = rank(case.queries, case.recent_rows, case.catalogue, case.model, case.k, memory=memory)
    return ranked.rows


EXACT: dict[Kind, Callable[[RankingCase], Tensor]] = {
    "dense": exact_scores,
    "memory": exact_memory_scores,
}
"""The scores that recall is measured by."""

METHODS: list[RankingMethod] = [
    RankingMethod("brute_force", "dense", lambda _: brute_force),
    RankingMethod("worker", "dense", lambda _: _worker),
    RankingMethod("brute_force_memory", "memory", lambda _: brute_force_memory),
    RankingMethod("worker_memory", "memory", lambda _: _worker_memory),
]
"""What is compared, the references first."""
