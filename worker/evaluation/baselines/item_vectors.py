"""Item vectors from co-occurrence: the truncated SVD of the positive pointwise mutual information.

Levy and Goldberg, "Neural Word Embedding as Implicit Matrix Factorization" (NIPS 2014) and Levy,
Goldberg and Dagan, "Improving Distributional Similarity with Lessons Learned from Word Embeddings"
(TACL 2015): the exponent 0.75 on the context's counts and the power of the singular values are
theirs. Items are words, a user's history a sentence.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.data import EventLog

_CONTEXT_EXPONENT = 0.75
_OVERSAMPLED = 16
_POWER_ITERATIONS = 2


def item_vectors(log: EventLog, n_items: int, *, size: int, window: int, power: float) -> Tensor:
    """Return U · S^power of the SVD of the log's PPMI matrix, scaled to a mean norm of 1.

    Args:
        log: events in time order.
        n_items: size of the catalogue; items without a neighbour get zero.
        size: length of the vectors; less if there are fewer items.
        window: how many events apart two items of a user may be to count, 1/distance each.
        power: of the singular values; 0.5 makes products approximate the matrix, 0 whitens.

    Returns:
        (n_items, size) float32.
    """
    rows, columns, values = ppmi(*pair_weights(log, n_items, window))
    if not len(values):
        return torch.zeros(n_items, min(size, n_items))
    matrix = torch.sparse_coo_tensor(
        torch.from_numpy(np.stack([rows, columns])),
        torch.from_numpy(values.astype(np.float32)),
        (n_items, n_items),
        is_coalesced=True,
        check_invariants=False,
    )
    # The sketch is random: a seed of its own makes the vectors a function of the log.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        width = min(size + _OVERSAMPLED, n_items)
        left, singular, _ = torch.svd_lowrank(matrix, q=width, niter=_POWER_ITERATIONS)
    # Directions of no weight are rounding noise, which a power of 0 would blow up.
    kept = singular[:size] > 1e-5 * singular[0]
    vectors = left[:, :size] * torch.where(kept, singular[:size] ** power, 0.0)
    norms = vectors.norm(dim=1)
    scaled: Tensor = vectors / norms[norms > 0].mean()
    return scaled


def pair_weights(
    log: EventLog, n_items: int, window: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the symmetric co-occurrence of items, Σ 1/distance, as rows, columns and values.

    Pairs are distinct and sorted; an item near itself counts too.
    """
    order = np.argsort(log.users, kind="stable")
    users, items = log.users[order], log.items[order].astype(np.int64)
    keys, weights = [], []
    for distance in range(1, window + 1):
        same = users[:-distance] == users[distance:]
        earlier, later = items[:-distance][same], items[distance:][same]
        keys += [earlier * n_items + later, later * n_items + earlier]
        weights += [np.full(2 * len(earlier), 1.0 / distance)]
    pairs, places = np.unique(np.concatenate(keys), return_inverse=True)
    sums = np.bincount(places, np.concatenate(weights)).astype(np.float64)
    return pairs // n_items, pairs % n_items, sums


def ppmi(
    rows: NDArray[np.int64], columns: NDArray[np.int64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return max(0, ln(P(i, j) / (P(i) · P'(j)))) of a symmetric co-occurrence, zeros left out.

    P'(j) ∝ (Σ_i weights(i, j))^0.75, so that rare contexts do not look closer than they are.
    """
    if not len(weights):
        return rows, columns, weights
    totals = np.bincount(rows, weights)
    context = totals**_CONTEXT_EXPONENT
    information = np.log(weights * context.sum() / (totals[rows] * context[columns]))
    positive = information > 0
    return rows[positive], columns[positive], information[positive]
