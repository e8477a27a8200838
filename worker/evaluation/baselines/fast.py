"""The rivals that are tuned and scored on one CPU core in minutes, and the settings they choose of.

The grids are small on purpose: each was laid around what a wider search preferred on the
*validation slices* of the REES46 and Electronics logs, with room for logs unlike both.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence

from worker.evaluation.baselines.base import Setting, StreamRecommender
from worker.evaluation.baselines.covisitation import Covisitation
from worker.evaluation.baselines.popularity import Popularity
from worker.evaluation.baselines.registry import Rival
from worker.evaluation.baselines.stan import STAN
from worker.evaluation.baselines.vsknn import VSKNN
from worker.evaluation.baselines.vstan import VSTAN

_DAY_MS = 24 * 3600 * 1000.0

Grid = Mapping[str, Sequence[Setting]]
"""Values by setting; the first of each is the default."""

POPULARITY: Grid = {
    "half_life_ms": [math.inf, *(days * _DAY_MS for days in (365, 90, 30, 7, 1, 0.25))]
}
_SKIP_RECENT = [1, 20]
"""Shops log a repeated view once, and few things are reviewed twice: what a user has just acted on
is rarely next. Neighbours would put it first."""
COVISITATION: Grid = {"skip_recent": [0, *_SKIP_RECENT], "decay": [0.8, 0.5], "window": [5, 10]}
VSKNN_: Grid = {"skip_recent": _SKIP_RECENT, "k": [100, 500], "idf_weight": [0.5, 0.0]}
STAN_: Grid = {
    "skip_recent": _SKIP_RECENT,
    "position_scale": [2.0],
    "distance_scale": [5.0, 2.0, math.inf],
    "recency_scale_ms": [1000 * _DAY_MS, _DAY_MS],
}
VSTAN_: Grid = {
    "skip_recent": _SKIP_RECENT,
    "idf_weight": [1.0],
    "position_scale": [5.0],
    "match_scale": [3.5],
    "distance_scale": [5.0, 2.0, math.inf],
    "recency_scale_ms": [1000 * _DAY_MS, _DAY_MS],
}


def fast_rivals() -> list[Rival]:
    """Return the fast rivals in the order in which reports show them."""
    methods = [
        ("popularity", Popularity, POPULARITY),
        ("covisitation", Covisitation, COVISITATION),
        ("vsknn", VSKNN, VSKNN_),
        ("stan", STAN, STAN_),
        ("vstan", VSTAN, VSTAN_),
    ]
    return [
        Rival(
            name=f"{name}_online" if online else name,
            group="fast",
            candidates=functools.partial(_from_grid, method, grid, online),
        )
        for name, method, grid in methods
        for online in (False, True)
    ]


def _from_grid(
    method: Callable[..., StreamRecommender],
    grid: Grid,
    online: bool,
    *,
    exclude_seen: bool,
    seed: int,
    device: str,
) -> list[StreamRecommender]:
    return [
        method(online=online, exclude_seen=exclude_seen, **dict(zip(grid, values, strict=True)))
        for values in itertools.product(*grid.values())
    ]
