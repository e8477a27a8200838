"""Choosing lists from pools: caps, diversity and exploration, against plain Python."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest

from worker.evaluation.off_policy import (
    inverse_propensity,
    list_weights,
    place_weights,
    self_normalised,
)
from worker.policy.brand_cap import ENOUGH, thin
from worker.policy.selection_kernel import Chosen, Options, Pools, choose, uniform

DIM = 8


def options(*, cap=0, diversity=0.0, epsilon=0.0, scale=0.0, first=0) -> Options:
    return Options(cap, diversity, epsilon, scale, first)


def drawn_pools(n=40, pool=12, recent=4, brands=4, seed=0) -> Pools:
    draw = np.random.default_rng(seed)
    items = 60
    rows = np.stack([draw.permutation(items)[:pool] for _ in range(n)]).astype(np.int64)
    scores = -np.sort(-draw.normal(scale=0.5, size=(n, pool)), axis=1).astype(np.float32)
    short = draw.integers(0, pool + 1, n)
    for q in range(0, n, 4):
        rows[q, short[q] :], scores[q, short[q] :] = -1, -np.inf
    vectors = draw.standard_normal((items, DIM), np.float32)
    vectors[5] = 0.0
    return Pools(
        rows, scores, rows.copy(), draw.integers(-1, items, (n, recent)), vectors,
        draw.integers(0, brands, items).astype(np.int32), draw.integers(0, 2**63, n).astype("u8"),
    )  # fmt: skip


def chosen(pools: Pools, opts: Options, k: int) -> Chosen:
    shape = (len(pools.rows), k)
    out = Chosen(np.full(shape, -1), np.full(shape, -np.inf, np.float32), np.ones(shape))
    choose(pools, opts, 0, len(pools.rows), out)
    return out


def posterior(pools: Pools, q: int) -> np.ndarray:
    known = pools.vectors[pools.recent[q][pools.recent[q] >= 0]].astype(np.float64)
    return np.linalg.inv(np.eye(DIM) + known.T @ known)


def distribution(pools: Pools, opts: Options, q: int, above: list[int]) -> dict[int, float]:
    """Return the probabilities of the candidates for the next place, by their place in the pool."""
    rows, scores = pools.rows[q].tolist(), pools.scores[q].astype(np.float64)
    vectors = pools.vectors.astype(np.float64)
    m = sum(row >= 0 for row in rows)
    brands = [int(pools.brands[row]) for row in rows]
    listed = [brands[a] for a in above]
    left = [
        a for a in range(m)
        if a not in above and not (opts.cap and brands[a] and listed.count(brands[a]) >= opts.cap)
    ]  # fmt: skip
    if not left:
        return {}

    def cosine(a: int, b: int) -> float:
        one, other = vectors[rows[a]], vectors[rows[b]]
        size = np.linalg.norm(one) * np.linalg.norm(other)
        return float(one @ other / size) if size > 1e-6 else 0.0

    spread = scores[0] - scores[m - 1]
    closest = {a: max((cosine(a, b) for b in above), default=0.0) for a in left}
    utility = {a: (1 - opts.diversity) * scores[a] - opts.diversity * spread * closest[a]
               for a in left}  # fmt: skip
    best = max(left, key=lambda a: (utility[a], -a))
    if opts.epsilon == 0.0 or len(above) < opts.first:
        return {a: float(a == best) for a in left}
    weights = {a: float(a == best) for a in left}
    if opts.scale > 0.0:
        covariance = ((1 - opts.diversity) * opts.scale) ** 2 * posterior(pools, q)
        for a in left:
            gap = vectors[rows[a]] - vectors[rows[best]]
            variance = gap @ covariance @ gap
            behind = utility[best] - utility[a]
            weights[a] = 1.0 if a == best else math.exp(-0.5 * behind**2 / variance)
    total = sum(weights.values())
    return {a: opts.epsilon / len(left) + (1 - opts.epsilon) * weights[a] / total for a in left}


EVERY = [
    options(),
    options(cap=2),
    options(diversity=0.4),
    options(diversity=0.9, cap=1),
    options(epsilon=0.3),
    options(epsilon=0.3, scale=0.5),
    options(epsilon=0.1, scale=0.7, cap=2, diversity=0.3, first=2),
    options(epsilon=1.0),
]


@pytest.mark.parametrize("opts", EVERY)
def test_lists_and_propensities_are_those_of_plain_python(opts):
    pools = drawn_pools()
    out = chosen(pools, opts, 6)
    tried = 0
    for q in range(len(pools.rows)):
        above: list[int] = []
        for j in range(6):
            expected = distribution(pools, opts, q, above)
            if not expected:
                assert (out.rows[q, j:] == -1).all()
                break
            assert sum(expected.values()) == pytest.approx(1.0)
            a = pools.rows[q].tolist().index(out.rows[q, j])
            assert out.scores[q, j] == pools.scores[q, a]
            assert out.propensities[q, j] == pytest.approx(expected[a], rel=1e-4, abs=1e-12)
            assert expected[a] > 0
            tried += expected[a] < max(expected.values())
            above.append(a)
    assert (tried > 10) == (0 < opts.epsilon < 1)  # else all are equal


@pytest.mark.parametrize("opts", EVERY[4:])
def test_choices_are_as_frequent_as_the_propensities_say(opts):
    """Draws of the second place given the first, by a chi-square test at one in ten thousand."""
    pools = drawn_pools(n=1, pool=7, seed=3)._replace(rows=np.arange(7)[None])
    n = 30_000
    many = pools._replace(
        rows=np.repeat(pools.rows, n, 0), places=np.repeat(pools.rows, n, 0),
        scores=np.repeat(drawn_pools(n=2, pool=7, seed=3).scores[1:], n, 0),
        recent=np.repeat(pools.recent, n, 0),
        seeds=np.random.default_rng(8).integers(0, 2**63, n).astype(np.uint64),
    )  # fmt: skip
    out = chosen(many, opts, 4)
    for place in (0, 2):
        above = np.unique(out.rows[:, :place], axis=0, return_counts=True)
        prefix = above[0][above[1].argmax()] if place else np.empty(0, np.int64)
        like = (out.rows[:, :place] == prefix).all(axis=1)
        expected = distribution(many, opts, 0, prefix.tolist())
        counts = np.bincount(out.rows[like, place], minlength=7)
        assert counts.sum() == like.sum() > 100
        statistic = sum(
            (counts[a] - like.sum() * p) ** 2 / (like.sum() * p)
            for a, p in expected.items() if like.sum() * p > 5
        )  # fmt: skip
        degrees = max(1, sum(like.sum() * p > 5 for p in expected.values()) - 1)
        assert statistic < degrees + 4 * math.sqrt(2 * degrees) + 10
        assert all(counts[a] == 0 for a, p in expected.items() if p == 0)


def test_a_seed_repeats_its_list_and_another_makes_another():
    pools, opts = drawn_pools(n=30, seed=4), options(epsilon=0.5, scale=1.0)
    first, again = chosen(pools, opts, 5), chosen(pools, opts, 5)
    np.testing.assert_array_equal(first.rows, again.rows)
    np.testing.assert_array_equal(first.propensities, again.propensities)
    other = chosen(pools._replace(seeds=pools.seeds + np.uint64(1)), opts, 5)
    assert (other.rows != first.rows).any(axis=1).mean() > 0.4


def test_numbers_of_a_seed_are_spread_evenly():
    numbers = np.array([uniform(np.uint64(s), c) for s in range(400) for c in range(50)])
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = np.histogram(numbers, bins=20, range=(0, 1))[0]
    assert np.abs(counts - 1000).max() < 5 * math.sqrt(1000)
    table = numbers.reshape(400, 50)
    assert abs(np.corrcoef(table[:, 0], table[:, 1])[0, 1]) < 0.2
    assert abs(np.corrcoef(table[:-1, 0], table[1:, 0])[0, 1]) < 0.2


def test_the_less_is_known_of_a_user_the_more_is_tried():
    pools = drawn_pools(n=300, recent=30, seed=6)
    known = chosen(pools, options(epsilon=0.01, scale=0.5), 5)
    new = chosen(pools._replace(recent=np.full((300, 30), -1)), options(epsilon=0.01, scale=0.5), 5)
    certain = chosen(pools, options(epsilon=0.01, scale=1e-6), 5)
    greedy = chosen(pools, options(), 5)
    apart = [(out.rows != greedy.rows).any(axis=1).mean() for out in (certain, known, new)]
    assert apart[0] < apart[1] < apart[2]


def test_diversity_makes_lists_less_alike_and_costs_score():
    pools = drawn_pools(n=200, pool=12, seed=7)
    full = np.where(np.isfinite(pools.scores), pools.scores, -9).astype(np.float32)
    pools = pools._replace(rows=np.abs(pools.rows), places=np.abs(pools.rows), scores=full)
    unit = pools.vectors / np.maximum(np.linalg.norm(pools.vectors, axis=1, keepdims=True), 1e-9)
    alike, score = [], []
    for diversity in (0.0, 0.3, 0.7, 0.95):
        out = chosen(pools, options(diversity=diversity), 5)
        listed = unit[out.rows]
        products = np.einsum("nkd,njd->nkj", listed, listed)
        alike.append((products.sum() - 5 * len(listed)) / len(listed))
        score.append(out.scores.sum())
    assert alike == sorted(alike, reverse=True) and score == sorted(score, reverse=True)
    assert alike[0] > alike[-1] + 0.5 and score[0] > score[-1]


def test_thin_pools_keep_the_best_of_each_brand():
    brands = np.array([0, 1, 1, 1, 2, 0], np.int32)
    rows = np.array([[1, 2, 3, 4], [3, 2, 1, -1], [1, 4, 5, 0]])
    scores = np.array([[9, 8, 7, 6], [5, 4, 3, -np.inf], [4, 3, 2, 1]], np.float32)
    counts = np.zeros(3, np.int64)
    kept = thin(rows, scores, brands, 1, 3, counts)
    assert kept.tolist() == [2, ENOUGH, ENOUGH]
    assert rows.tolist() == [[1, 4, -1, -1], [3, 2, 1, -1], [1, 4, 5, 0]]
    assert scores[0].tolist() == [9, 6, -np.inf, -np.inf]
    assert not counts.any()


# --- what another policy would have earned --------------------------------------------------------


def world(pools: Pools, q: int, k: int):
    """Chances of clicks: a user reads from above, and likes an item less after others."""
    likes = 0.6 / (1 + np.exp(-2.0 * pools.scores[q].astype(np.float64)))
    likes[np.arange(len(likes)) % 3 == 1] *= 0.1  # what the scores know nothing of

    def rewards(places: tuple[int, ...]) -> list[float]:
        return [likes[a] * 0.8 ** sum(likes[b] > 0.2 for b in places[:j]) / (1 + j)
                for j, a in enumerate(places)]  # fmt: skip

    return rewards


def probability(pools: Pools, opts: Options, q: int, places) -> list[float]:
    return [distribution(pools, opts, q, list(places[:j])).get(a, 0.0)
            for j, a in enumerate(places)]  # fmt: skip


@pytest.mark.parametrize(
    ("logging", "target"),
    [
        (options(epsilon=0.4), options(epsilon=0.05, diversity=0.5)),
        (options(epsilon=0.4, scale=1.0), options()),
        (options(epsilon=0.3, scale=0.5, diversity=0.2), options(epsilon=0.2, scale=1.0, cap=1)),
    ],
)
def test_another_policys_value_is_recovered_from_logged_lists(logging, target):
    kinds, pool, k, n = 3, 6, 3, 60_000
    pools = drawn_pools(n=kinds, pool=pool, seed=11)
    pools = pools._replace(
        rows=np.stack([np.arange(pool) + 8 * q for q in range(kinds)]),
        scores=np.stack([np.linspace(0.8, -0.4, pool)] * kinds).astype("f4"),
    )
    pools = pools._replace(places=pools.rows)
    which = np.random.default_rng(1).integers(0, kinds, n)
    seeds = np.random.default_rng(2).integers(0, 2**63, n).astype(np.uint64)
    of = {name: getattr(pools, name)[which] for name in ("rows", "scores", "places", "recent")}
    out = chosen(pools._replace(seeds=seeds, **of), logging, k)
    places = out.rows - 8 * which[:, None]
    lists = list(permutations(range(pool), k))
    value, chances, likes = 0.0, {}, {}
    for q in range(kinds):
        rewards = world(pools, q, k)
        for entry in lists:
            chances[q, entry] = probability(pools, target, q, entry)
            likes[q, entry] = rewards(entry)
            value += math.prod(chances[q, entry]) * sum(likes[q, entry]) / kinds
    draw = np.random.default_rng(3)
    logged = [tuple(entry) for entry in places.tolist()]
    earned = np.array([likes[q, p] for q, p in zip(which, logged, strict=True)])
    clicks = (draw.random((n, k)) < earned).astype(np.float64)
    wanted = np.array([chances[q, p] for q, p in zip(which, logged, strict=True)])
    weights = list_weights(out.propensities, wanted)
    of_places = place_weights(out.propensities, wanted)
    assert weights.mean() == pytest.approx(1.0, abs=0.15)
    estimates = [
        inverse_propensity(clicks.sum(axis=1), weights, confidence=0.999),
        self_normalised(clicks.sum(axis=1), weights, confidence=0.999),
        inverse_propensity(clicks, of_places, confidence=0.999),
        self_normalised(clicks, of_places, confidence=0.999),
    ]
    for estimate in estimates:
        assert estimate.low < value < estimate.high
        assert estimate.high - estimate.low < 0.5 * value
        assert 100 < estimate.effective_lists < n
    # The propensities of even draws lead elsewhere.
    flat = place_weights(np.full_like(out.propensities, 1 / pool), wanted)
    wrong = inverse_propensity(clicks, flat, confidence=0.999)
    assert not wrong.low < value < wrong.high
