"""The rivals that are trained by gradient, and the settings they choose of; the first: defaults.

Small grids, as each candidate is a training run of minutes. GRU4Rec's hold what its authors found
best for REES46 (cross-entropy) and for Retailrocket (BPR-max), with fewer units
(github.com/hidasib/GRU4Rec_PyTorch_Official, paramfiles); the rest is laid around what did well on
the *validation slice* of the REES46 log.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from worker.evaluation.baselines.base import Setting, StreamRecommender
from worker.evaluation.baselines.neural.gru4rec import GRU4Rec
from worker.evaluation.baselines.neural.meta_learned import MetaLearned
from worker.evaluation.baselines.neural.sasrec import SASRec
from worker.evaluation.baselines.prefixes import LastResult
from worker.evaluation.baselines.registry import Rival

Changes = Sequence[dict[str, Setting]]
"""What each candidate changes of the defaults."""

_ORDERS: Changes = [{}, {"skip_recent": 20}]
"""Each candidate is scored in each of these."""

_BPR_MAX: dict[str, Setting] = {
    "loss": "bpr-max",
    "embedding_dropout": 0.5,
    "learning_rate": 0.05,
    "momentum": 0.4,
    "batch_size": 80,
    "hidden_dropout": 0.05,
    "epochs": 10,
    "sample_alpha": 0.4,
    "bpreg": 1.95,
}

_CROSS_ENTROPY: dict[str, Setting] = {
    "embedding_dropout": 0.45,
    "hidden_dropout": 0.0,
    "learning_rate": 0.065,
    "batch_size": 240,
    "epochs": 10,
}

GRU4REC: Changes = [{}, _CROSS_ENTROPY, {"dim": 256, **_CROSS_ENTROPY}, _BPR_MAX]
SASREC: Changes = [{}, {"dropout": 0.5}, {"blocks": 2, "heads": 2}]
MAML: Changes = [{}, {"second_order": False}, {"steps": 4}, {"dropout": 0.5}]
ANIL: Changes = MAML
REPTILE: Changes = [{}, {"rate": 0.1}, {"dropout": 0.5}]


def neural_rivals() -> list[Rival]:
    """Return the neural rivals in the order in which reports show them."""
    methods: list[tuple[str, Callable[..., StreamRecommender], Changes]] = [
        ("gru4rec", GRU4Rec, GRU4REC),
        ("sasrec", SASRec, SASREC),
        ("maml", functools.partial(MetaLearned, variant="maml"), MAML),
        ("anil", functools.partial(MetaLearned, variant="anil"), ANIL),
        ("reptile", functools.partial(MetaLearned, variant="reptile"), REPTILE),
    ]
    return [
        Rival(name=name, group="neural", candidates=functools.partial(_candidates, method, changes))
        for name, method, changes in methods
    ]


def _candidates(
    method: Callable[..., StreamRecommender],
    changes: Changes,
    *,
    exclude_seen: bool,
    seed: int,
    device: str,
) -> list[StreamRecommender]:
    # One trained model serves all orders: those of one training come one after the other.
    trained: LastResult[object] = LastResult()
    return [
        method(
            exclude_seen=exclude_seen, seed=seed, device=device, trained=trained, **change, **order
        )
        for change in changes
        for order in _ORDERS
    ]
