"""The mix as the worker computes it: compiled, candidate by candidate, on the CPU.

What `worker.model.mixer.Mixer` computes, and in the same float32, but the candidates' vectors are
read once where they lie, and nothing is written but the scores.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from worker.item_memory.kernels import FEATURES
from worker.item_memory.memory import Candidates
from worker.model.mixer import Mixer
from worker.model.mixer_layer import gelu_output
from worker.ranking_index.llvm import LANES
from worker.ranking_index.simd import inner_product, prefetch

F32 = np.float32

_KNOWN = len(FEATURES)
"""Numbers that the memory tells of a candidate; two more are worked out here."""
_LEAST_ODDS = F32(-50.0)
_SMALLEST = 1e-12
_AHEAD = 4
"""Candidates whose vectors are on their way while one is scored."""


class MixerArrays(NamedTuple):
    """A mixer's weights; the hidden width H is filled up with zeros to a multiple of `LANES`."""

    number_mean: NDArray[np.float32]
    number_scale: NDArray[np.float32]
    context_mean: NDArray[np.float32]
    context_scale: NDArray[np.float32]
    of_numbers: NDArray[np.float32]
    """(F + 2, H)."""
    bias: NDArray[np.float32]
    """(H,)."""
    of_context: NDArray[np.float32]
    """(C, H)."""
    of_recency: NDArray[np.float32]
    """(R + 1, H)."""
    of_link: NDArray[np.float32]
    """(R + 1, H)."""
    output: NDArray[np.float32]
    """(H,)."""
    output_bias: float
    share_weight: float


class Inputs(NamedTuple):
    """What n users are ranked by; see `mixed_scores`."""

    queries: NDArray[np.float32]
    """(n, dim)."""
    vectors: NDArray[np.float32]
    """Of items, (items, dim)."""
    norms: NDArray[np.float32]
    """Their lengths, (items,); −∞ where a vector is not finite."""
    findable: NDArray[np.bool_]
    """Which may be recommended, (items,)."""
    near_scores: NDArray[np.float32]
    """The strongest inner products, (n, D), −∞ fills up: their log-sum-exp is the reference."""
    latest: NDArray[np.int64]
    """Row of each user's latest item, −1 without one, (n,)."""


class Found(NamedTuple):
    """The arrays of `Candidates`."""

    pointers: NDArray[np.int64]
    rows: NDArray[np.int32]
    features: NDArray[np.float32]
    recency: NDArray[np.int32]
    link: NDArray[np.int32]
    context: NDArray[np.float32]


def mixer_arrays(mixer: Mixer) -> MixerArrays:
    """Return a mixer's weights, as they are now."""
    hidden = mixer.output.in_features
    more = -hidden % LANES

    def padded(weight: Tensor) -> NDArray[np.float32]:
        # The last axis is the hidden one.
        wider = torch.nn.functional.pad(weight.detach().float().cpu(), (0, more))
        return np.ascontiguousarray(wider.numpy())

    def plain(values: Tensor) -> NDArray[np.float32]:
        array: NDArray[np.float32] = values.detach().float().cpu().numpy().copy()
        return array

    return MixerArrays(
        plain(mixer.number_mean),
        plain(mixer.number_scale),
        plain(mixer.context_mean),
        plain(mixer.context_scale),
        padded(mixer.of_numbers.weight.T),
        padded(mixer.of_numbers.bias),
        padded(mixer.of_context.weight.T),
        padded(mixer.of_recency.weight),
        padded(mixer.of_link.weight),
        padded(mixer.output.weight[0]),
        float(mixer.output.bias),
        float(mixer.share_weight),
    )


def found_arrays(candidates: Candidates) -> Found:
    """Return the arrays of candidates for compiled code."""
    return Found(
        candidates.pointers,
        candidates.rows,
        candidates.features,
        candidates.recency,
        candidates.link,
        candidates.context,
    )


@njit(cache=True, nogil=True, error_model="numpy")
def mixed_scores(
    weights: MixerArrays, inputs: Inputs, found: Found, start: int, stop: int,
    scores: NDArray[np.float32],
) -> None:  # fmt: skip
    """Write the mixed scores, (P,), of the candidates of users start, …, stop − 1.

    −∞ for items that may not be recommended, or that there are no vectors of.
    """
    # Arrays by themselves, and addresses: a row of one, or a tuple passed on, counts references.
    pointers, rows, features = found.pointers, found.rows, found.features
    positions, links = found.recency, found.link
    width, row_bytes = len(weights.output), 4 * len(weights.output)
    of_recency, of_link, output = (
        weights.of_recency.ctypes.data, weights.of_link.ctypes.data, weights.output.ctypes.data
    )  # fmt: skip
    mean, per_scale = weights.number_mean, F32(1.0) / weights.number_scale
    norms, findable, latest = inputs.norms, inputs.findable, inputs.latest
    of_numbers, dim = weights.of_numbers.ctypes.data, inputs.vectors.shape[1]
    queries, vectors = inputs.queries.ctypes.data, inputs.vectors.ctypes.data
    bias, share_weight = F32(weights.output_bias), F32(weights.share_weight)
    numbers, of_user = np.empty(_KNOWN + 2, F32), np.empty(width, F32)
    numbers_at, of_user_at = numbers.ctypes.data, of_user.ctypes.data
    for q in range(start, stop):
        query = queries + 4 * dim * q
        reference = _log_sum_exp(inputs.near_scores[q])
        _of_context(weights, found.context[q], of_user)
        last, last_norm = vectors + 4 * dim * max(0, latest[q]), F32(0.0)
        if 0 <= latest[q] < len(norms):
            last_norm = norms[latest[q]]
        for p in range(pointers[q], pointers[q + 1]):
            row = rows[p]
            # Vectors lie anywhere in memory: ask for them before they are needed.
            prefetch(vectors + 4 * dim * rows[min(p + _AHEAD, len(rows) - 1)], 4 * dim)
            scores[p] = -np.inf
            if row >= len(norms) or not findable[row]:
                continue
            vector = vectors + 4 * dim * row
            dense = inner_product(query, vector, dim)
            for c in range(_KNOWN):
                numbers[c] = (features[p, c] - mean[c]) * per_scale[c]
            odds = max(F32(dense - reference), _LEAST_ODDS)
            numbers[_KNOWN] = (odds - mean[_KNOWN]) * per_scale[_KNOWN]
            # Both lengths: −∞ stands for a vector that is not finite, 0 for none.
            similarity, lengths = F32(0.0), norms[row] * last_norm
            if lengths > 0.0 and lengths * lengths > _SMALLEST:
                similarity = F32(inner_product(vector, last, dim) / lengths)
            numbers[_KNOWN + 1] = (similarity - mean[_KNOWN + 1]) * per_scale[_KNOWN + 1]
            learned = bias + gelu_output(
                numbers_at, of_numbers, of_user_at, of_recency + row_bytes * (positions[p] + 1),
                of_link + row_bytes * (links[p] + 1), output, width,
            )  # fmt: skip
            scores[p] = dense + (share_weight * features[p, 0] + learned)


@njit(cache=True, nogil=True, error_model="numpy")
def _log_sum_exp(scores: NDArray[np.float32]) -> np.float32:
    largest, total = scores[0], 0.0
    if not np.isfinite(largest):
        return F32(largest)
    for score in scores:
        total += np.exp(float(score) - float(largest))
    return F32(largest + np.log(total))


@njit(cache=True, nogil=True, error_model="numpy")
def _of_context(
    weights: MixerArrays, context: NDArray[np.float32], hidden: NDArray[np.float32]
) -> None:
    """Write what a user adds to the hidden layer, the bias included."""
    hidden[:] = weights.bias
    for c in range(len(context)):
        x = (context[c] - weights.context_mean[c]) / weights.context_scale[c]
        for h in range(len(hidden)):
            hidden[h] += x * weights.of_context[c, h]
