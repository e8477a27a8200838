"""The first look at groups of items: the same whatever multiplies, and true of each group."""

from __future__ import annotations

import numpy as np
import pytest

from worker.ranking_index import amx, sieve
from worker.ranking_index.codes import NO_THRESHOLD, NORM, encode_queries
from worker.ranking_index.index import ItemIndex
from worker.ranking_index.llvm import LANES
from worker.ranking_index.tiles import ITEMS

SHAPES = [(1, 3, 7), (63, 5, 16), (64, 64, 17), (3000, 97, 40), (500, 200, 33), (150_000, 8, 20)]
with_amx = pytest.mark.skipif(not amx.ready(), reason="there is no AMX here")


def made(items: int, dim: int, n: int) -> tuple[ItemIndex, np.ndarray, np.ndarray]:
    """An index some of whose items may not be found, its vectors, and queries."""
    draw = np.random.default_rng(items + dim)
    vectors = (draw.standard_normal((items, dim)) * draw.lognormal(size=(items, 1))).astype("f")
    vectors[-1, 0] = np.nan
    queries = draw.standard_normal((n, dim), np.float32)
    queries[n // 2] = np.inf
    index, rows = ItemIndex(dim, capacity=1), np.arange(items)
    index.set_vectors(rows, vectors)
    index.set_available(rows, draw.random(items) < 0.7)
    return index, vectors, queries


def look(index: ItemIndex, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Upper bounds, (n, groups), thresholds, (n,), and tiles of a group, after a first look."""
    codes, n = index._codes, len(queries)
    coded = encode_queries(queries, codes.codes.shape[1] * 4)
    upper, size = sieve.first_look(codes, len(index.norms), coded, n, k)
    flat = upper.transpose(0, 2, 1).reshape(-1, upper.shape[1])[:n]
    return flat, coded.bounds[:n, 2].copy(), size


@with_amx
@pytest.mark.parametrize(("items", "dim", "n"), SHAPES)
def test_amx_tells_the_same(items, dim, n, monkeypatch):
    index, _, queries = made(items, dim, n)
    by_amx = look(index, queries, 5)
    monkeypatch.setattr(amx, "ready", lambda: False)
    for one, other in zip(by_amx, look(index, queries, 5), strict=True):
        np.testing.assert_array_equal(one, other)


@with_amx
@pytest.mark.parametrize("threads", [1, 3])
def test_amx_finds_the_same(threads, monkeypatch):
    index, vectors, queries = made(20_000, 96, 150)
    by_amx = index.search(queries, vectors, 20, threads=threads)
    monkeypatch.setattr(amx, "ready", lambda: False)
    without = index.search(queries, vectors, 20)
    np.testing.assert_array_equal(by_amx.rows, without.rows)
    np.testing.assert_array_equal(by_amx.scores, without.scores)


@pytest.mark.parametrize("k", [1, 5, 60])
@pytest.mark.parametrize(("items", "dim", "n"), SHAPES)
def test_no_group_is_underrated_and_thresholds_leave_enough(items, dim, n, k):
    index, vectors, queries = made(items, dim, n)
    upper, thresholds, size = look(index, queries, k)
    found = index.findable
    codes = encode_queries(queries, index._codes.codes.shape[1] * 4)
    with np.errstate(invalid="ignore", over="ignore"):
        exact = queries.astype(np.float64) @ vectors.astype(np.float64).T / codes.scales[:n, None]
    exact[:, ~found] = -np.inf
    groups, per_group = upper.shape[1], size * ITEMS
    for q in range(n):
        if not np.isfinite(queries[q]).all():
            assert thresholds[q] == np.inf
            continue
        for g in range(groups):
            best = exact[q, g * per_group : (g + 1) * per_group].max()
            assert best == -np.inf or upper[q, g] >= best - 1e-6 * abs(best)
        if thresholds[q] > NO_THRESHOLD:
            assert (exact[q] >= thresholds[q] - 1e-6 * abs(thresholds[q])).sum() >= min(k, groups)


def test_a_threshold_is_close_to_the_kth_largest_bound():
    index, _, queries = made(20_000, 16, 40)
    index.set_available(np.arange(20_000), np.ones(20_000, np.bool_))
    groups = -(-20_000 // ITEMS)
    norms, errors = index._codes.most[:, :groups]
    coded = encode_queries(queries, 16)
    for k in (1, 20, groups):
        upper, thresholds, _ = look(index, queries, k)
        for q in np.flatnonzero(np.isfinite(queries).all(axis=1)):
            of_norm, of_error = coded.bounds[q, :2]
            lower = np.sort(upper[q] - 2 * (of_norm * norms + of_error * errors))[::-1]
            width = (lower[0] - lower[-1]) / 2**13 + 1e-3
            assert lower[k - 1] - width <= thresholds[q] <= lower[k - 1] + 1e-3 * abs(lower[k - 1])


def test_codes_begin_at_a_cache_line_and_end_before_their_room_does():
    index, _, _ = made(100, 5, 1)
    index.reserve(5000)
    codes = index._codes
    for array in (codes.codes, codes.numbers, codes.offsets):
        assert array.ctypes.data % 64 == 0
    assert codes.codes.base is not None and len(codes.codes) * LANES >= 5000
    assert (codes.numbers[NORM, 100:] == -np.inf).all()
