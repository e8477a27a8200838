"""Choosing lists from pools of candidates, compiled: diversity, caps and exploration at once.

A list is made place by place. At each place every candidate that is still to be had has a utility,

    u(a) = (1 − δ) s(a) − δ R max_b cos(v_a, v_b), b going over the places above,

maximal marginal relevance (Carbonell and Goldstein 1998, "The use of MMR, diversity-based reranking
for reordering documents and producing summaries"), with s the score, R the range of scores in the
pool and δ the diversity: the same order as with scores brought to [0, 1], but in units of scores.

Without exploration the best one is taken. With it, each has a probability, given the places above:

    p(a) = ε / m + (1 − ε) w(a) / Σ_b w(b), m candidates being left.

w is 1 for the best one and 0 for the others (ε-greedy), or exp(−Δ(a)² / 2 σ(a)²), with Δ(a) what a
is behind the best one, and σ(a)² the variance of that difference under the posterior of the user's
query: Maillard sampling (Bian and Jun 2022, "Maillard sampling: Boltzmann exploration done
optimally", arXiv:2111.03290), which behaves as Thompson sampling does, but whose probabilities are
known. The posterior is that of linear Thompson sampling (Agrawal and Goyal 2013, arXiv:1209.3352):
N(q, c² B⁻¹) with B = I + Σ_i v_i v_iᵀ over the items v_i that the user acted on, and c the scale.
By Woodbury's identity v_aᵀ B⁻¹ v_b = v_a·v_b − z_a·z_b, with z = L⁻¹ V v and L Lᵀ = I + V Vᵀ.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.ranking_index.simd import inner_product, prefetch
from worker.rows import NO_ITEM

F32 = np.float32

_NO_ITEM = NO_ITEM
_SMALLEST = 1e-12
_AHEAD = 4
"""Candidates whose vectors are on their way while one is copied."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class Options(NamedTuple):
    """How to choose."""

    cap: int
    """Most items of one brand; 0 for any number."""
    diversity: float
    """δ."""
    epsilon: float
    """ε; 0 explores nothing."""
    scale: float
    """c; 0 takes the best one but for ε."""
    first: int
    """First place that may be explored, from 0."""


class Pools(NamedTuple):
    """What to choose from for each of n queries; candidates best first."""

    rows: NDArray[np.int64]
    """Catalogue rows, (n, P); `NO_ITEM` fills up."""
    scores: NDArray[np.float32]
    """(n, P)."""
    places: NDArray[np.int64]
    """Where their vectors are among `vectors`, (n, P); void where there is no candidate."""
    recent: NDArray[np.int64]
    """Where those of the items are that the user acted on, (n, r); −1 for none."""
    vectors: NDArray[np.float32]
    """(…, dim)."""
    brands: NDArray[np.int32]
    """Brand by catalogue row, 0 for none."""
    seeds: NDArray[np.uint64]
    """What chance goes by, (n,)."""


class Chosen(NamedTuple):
    """The lists, (n, k) each; filled with `NO_ITEM`, −∞ and 1 where they end early."""

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    propensities: NDArray[np.float64]
    """Probability of the item at its place, given the items above it."""


@njit(cache=True, nogil=True)
def uniform(seed: np.uint64, count: int) -> float:
    """Return the count-th number of a seed in [0, 1): SplitMix64 (Steele, Lea and Flood 2014)."""
    z = seed + np.uint64(count + 1) * _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return (z >> np.uint64(11)) * 2.0**-53


@njit(cache=True, nogil=True)
def choose(pools: Pools, options: Options, start: int, stop: int, chosen: Chosen) -> None:
    """Make the lists of queries start, …, stop − 1."""
    most, k = pools.rows.shape[1], chosen.rows.shape[1]
    utilities, weights = np.empty(most), np.empty(most)
    closest, lengths = np.empty(most), np.empty(most)
    left = np.empty(most, np.bool_)
    projected = np.empty((most, pools.recent.shape[1]), F32)
    near = np.empty((most, pools.vectors.shape[1]), F32)
    for q in range(start, stop):
        m, known = _begin(pools, options, q, left, closest, lengths, projected, near)
        for j in range(min(k, m)):
            best, count = _utilities(pools, options, q, m, left, closest, utilities)
            if best < 0:
                break
            a, probability = best, 1.0
            if options.epsilon > 0.0 and j >= options.first:
                total = _weigh(options, m, known, best, left, utilities, lengths, projected, near,
                               weights)  # fmt: skip
                x = uniform(pools.seeds[q], j)
                a = _draw(x, options.epsilon, count, total, m, left, weights)
                share = weights[a] / total
                probability = options.epsilon / count + (1.0 - options.epsilon) * share
            chosen.rows[q, j] = pools.rows[q, a]
            chosen.scores[q, j] = pools.scores[q, a]
            chosen.propensities[q, j] = probability
            _take(pools, options, q, m, a, j, left, closest, lengths, near, chosen.rows)


@njit(cache=True, nogil=True)
def _begin(
    pools: Pools, options: Options, q: int, left: NDArray[np.bool_], closest: NDArray[np.float64],
    lengths: NDArray[np.float64], projected: NDArray[np.float32], near: NDArray[np.float32],
) -> tuple[int, int]:  # fmt: skip
    """Make ready for a query; return how many candidates and how many known items it has.

    The candidates' vectors, which lie anywhere in memory, come to stand side by side in `near`.
    """
    rows, places, vectors = pools.rows, pools.places, pools.vectors
    dim, m = vectors.shape[1], 0
    while m < rows.shape[1] and rows[q, m] != _NO_ITEM:
        left[m], closest[m] = True, 0.0
        m += 1
    posterior = options.epsilon > 0.0 and options.scale > 0.0
    if options.diversity > 0.0 or posterior:
        vectors_at, near_at = vectors.ctypes.data, near.ctypes.data
        for a in range(m):
            prefetch(vectors_at + 4 * dim * places[q, min(a + _AHEAD, m - 1)], 4 * dim)
            for c in range(dim):
                near[a, c] = vectors[places[q, a], c]
            own = near_at + 4 * dim * a
            lengths[a] = inner_product(own, own, dim)
    if not posterior:
        return m, 0
    return m, _project(pools, q, m, projected, near)


@njit(cache=True, nogil=True)
def _project(
    pools: Pools, q: int, m: int, projected: NDArray[np.float32], near: NDArray[np.float32]
) -> int:
    """Write z of the candidates of a query, (m, r), and return r."""
    recent, vectors = pools.recent, pools.vectors
    at, near_at, dim, r = vectors.ctypes.data, near.ctypes.data, vectors.shape[1], 0
    known = np.empty(recent.shape[1], np.int64)
    for c in range(recent.shape[1]):
        if recent[q, c] >= 0:
            known[r] = recent[q, c]
            r += 1
    lower = np.zeros((r, r))
    for i in range(r):  # Cholesky
        for j in range(i + 1):
            total = float(inner_product(at + 4 * dim * known[i], at + 4 * dim * known[j], dim))
            if i == j:
                total += 1.0
            for c in range(j):
                total -= lower[i, c] * lower[j, c]
            lower[i, j] = np.sqrt(max(total, _SMALLEST)) if i == j else total / lower[j, j]
    for a in range(m):
        own = near_at + 4 * dim * a
        for i in range(r):
            total = float(inner_product(own, at + 4 * dim * known[i], dim))
            for c in range(i):
                total -= lower[i, c] * projected[a, c]
            projected[a, i] = total / lower[i, i]
    return r


@njit(cache=True, nogil=True)
def _utilities(
    pools: Pools, options: Options, q: int, m: int, left: NDArray[np.bool_],
    closest: NDArray[np.float64], utilities: NDArray[np.float64],
) -> tuple[int, int]:  # fmt: skip
    """Write the candidates' utilities; return the best one, −1 for none, and how many are left."""
    scores, diversity = pools.scores, options.diversity
    spread = float(scores[q, 0]) - float(scores[q, m - 1])
    best, count = -1, 0
    for a in range(m):
        if not left[a]:
            continue
        utilities[a] = (1.0 - diversity) * scores[q, a] - diversity * spread * closest[a]
        count += 1
        # Among equals the one with the better score, which comes first.
        if best < 0 or utilities[a] > utilities[best]:
            best = a
    return best, count


@njit(cache=True, nogil=True, error_model="numpy")
def _weigh(
    options: Options, m: int, known: int, best: int, left: NDArray[np.bool_],
    utilities: NDArray[np.float64], lengths: NDArray[np.float64], projected: NDArray[np.float32],
    near: NDArray[np.float32], weights: NDArray[np.float64],
) -> float:  # fmt: skip
    """Write w of the candidates that are left; return the sum."""
    total, at, dim = 0.0, near.ctypes.data, near.shape[1]
    factor = (1.0 - options.diversity) * options.scale
    of_best = at + 4 * dim * best
    for a in range(m):
        if not left[a]:
            continue
        weights[a] = 1.0 if a == best else 0.0
        if a != best and factor > 0.0:
            variance = lengths[a] + lengths[best]
            variance -= 2.0 * inner_product(of_best, at + 4 * dim * a, dim)
            for c in range(known):
                gap = projected[a, c] - projected[best, c]
                variance -= gap * gap
            behind = utilities[best] - utilities[a]
            if behind == 0.0:
                weights[a] = 1.0
            elif variance > _SMALLEST:
                weights[a] = np.exp(-0.5 * behind * behind / (factor * factor * variance))
        total += weights[a]
    return total


@njit(cache=True, nogil=True)
def _draw(
    x: float, epsilon: float, count: int, total: float, m: int, left: NDArray[np.bool_],
    weights: NDArray[np.float64],
) -> int:  # fmt: skip
    """Return the candidate that a number x in [0, 1) falls to."""
    evenly = x < epsilon
    goal = x / epsilon * count if evenly else (x - epsilon) / (1.0 - epsilon) * total
    reached, last = 0.0, -1
    for a in range(m):
        if not left[a]:
            continue
        share = 1.0 if evenly else weights[a]
        if share > 0.0:
            last = a
        reached += share
        if reached > goal:
            return a
    return last


@njit(cache=True, nogil=True, error_model="numpy")
def _take(
    pools: Pools, options: Options, q: int, m: int, taken: int, place: int,
    left: NDArray[np.bool_], closest: NDArray[np.float64], lengths: NDArray[np.float64],
    near: NDArray[np.float32], listed: NDArray[np.int64],
) -> None:  # fmt: skip
    """Take note that a candidate was listed at a place."""
    rows, brands = pools.rows, pools.brands
    left[taken] = False
    if options.cap > 0 and brands[rows[q, taken]] != 0:
        brand, others = brands[rows[q, taken]], 0
        for j in range(place + 1):
            others += brands[listed[q, j]] == brand
        if others >= options.cap:
            for a in range(m):
                if brands[rows[q, a]] == brand:
                    left[a] = False
    if options.diversity > 0.0:
        at, dim = near.ctypes.data, near.shape[1]
        own = at + 4 * dim * taken
        for a in range(m):
            if left[a]:
                both = lengths[a] * lengths[taken]
                cosine = 0.0
                if both > _SMALLEST:
                    cosine = inner_product(own, at + 4 * dim * a, dim) / np.sqrt(both)
                if place == 0 or cosine > closest[a]:
                    closest[a] = cosine
