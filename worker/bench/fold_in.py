"""What rivals do after an event: the user's vector in closed form, from the last events anew."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.evaluation.baselines.als import weighted_prefixes
from worker.evaluation.baselines.ridge import ridge_heads

_ITEMS = 10_000
"""Of the catalogue: an item's factor is looked up, so their number hardly matters."""

_PENALTY, _RECENCY = 10.0, 0.7


def ridge_fold_in(users: int, dim: int, history: int) -> Callable[[], Tensor]:
    """Return what solves for a ridge head of each user on the vectors of its last events."""
    torch.manual_seed(dim)
    vectors, windows = torch.randn(_ITEMS, dim), torch.randint(_ITEMS, (users, history))
    return lambda: ridge_heads(vectors, windows, _PENALTY, _RECENCY)


def als_fold_in(users: int, dim: int, history: int) -> Callable[[], NDArray[np.float32]]:
    """Return what lets implicit recalculate the users' factors. implicit must be installed."""
    from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415 - optional
    from threadpoolctl import threadpool_limits  # noqa: PLC0415 - implicit brings it

    draw = np.random.default_rng(dim)
    windows = draw.integers(_ITEMS, size=(users, history))
    events = weighted_prefixes(windows, _ITEMS, 0.5)
    model = AlternatingLeastSquares(
        factors=dim, alpha=100.0, num_threads=torch.get_num_threads(), random_state=0
    )
    model.item_factors = draw.standard_normal((_ITEMS, dim)).astype(np.float32) / dim**0.5
    everyone = np.arange(users)

    def recalculate() -> NDArray[np.float32]:
        # implicit's own threads call BLAS: with threads of its own BLAS would multiply them.
        with threadpool_limits(1, "blas"):
            factors: NDArray[np.float32] = model.recalculate_user(everyone, events)
        return factors

    return recalculate
