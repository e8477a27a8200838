"""Cosine of candidates and the user's latest item."""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from worker.rows import NO_ITEM

_SMALLEST = 1e-12
"""Squared length below which a vector has no direction."""


def similarity_to_latest(vectors: Tensor, items: Tensor, users: Tensor, latest: Tensor) -> Tensor:
    """Return the cosine of each candidate's vector and that of its user's latest item, (P,).

    Args:
        vectors: item vectors, (items, d).
        items: rows of the candidates, (P,).
        users: the user of each candidate, (P,), ascending.
        latest: row of each user's latest item, `NO_ITEM` without one, (n,): 0 is returned there.
    """
    if vectors.device.type == "cpu":
        # In one pass: gathering the vectors first writes and reads some 100 kB a user.
        arrays = (part.numpy() for part in (vectors, items, users, latest))
        return torch.from_numpy(_similarities(*arrays))
    chosen = vectors[items]
    last = vectors[latest.clamp(min=0)]
    dot = torch.linalg.vecdot(chosen, last[users])
    squared = chosen.square().sum(dim=1) * last.square().sum(dim=1)[users]
    known = (latest[users] != NO_ITEM) & (squared > _SMALLEST)
    return torch.where(known, dot * squared.clamp(min=_SMALLEST).rsqrt(), 0.0)


@njit(cache=True, fastmath=True)
def _similarities(
    vectors: NDArray[np.float32],
    items: NDArray[np.int64],
    users: NDArray[np.int64],
    latest: NDArray[np.int64],
) -> NDArray[np.float32]:
    found = np.zeros(len(items), np.float32)
    for p in range(len(items)):
        row = latest[users[p]]
        if row < 0:
            continue
        a, b = vectors[items[p]], vectors[row]
        dot = own = last = np.float32(0.0)
        for i in range(len(a)):
            dot += a[i] * b[i]
            own += a[i] * a[i]
            last += b[i] * b[i]
        if own * last > _SMALLEST:
            found[p] = dot / np.sqrt(own * last)
    return found
