"""The index finds exactly what scoring every item finds: also of hard items, and of new ones."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from worker.ranking_index import llvm, tiles
from worker.ranking_index.index import ItemIndex, Nearest

ALL = slice(None)


def filled(vectors: np.ndarray, available: np.ndarray | None = None) -> ItemIndex:
    index = ItemIndex(vectors.shape[1], capacity=1)
    rows = np.arange(len(vectors))
    index.set_vectors(rows, vectors)
    index.set_available(rows, np.ones(len(rows), np.bool_) if available is None else available)
    return index


def check(found: Nearest, queries: np.ndarray, vectors: np.ndarray, available: np.ndarray, k: int):
    """The k best in double precision, but for what differs by less than float32 tells apart."""
    exact = queries.astype(np.float64) @ vectors.astype(np.float64).T
    exact[:, ~available] = -np.inf
    close = 1e-5 * np.linalg.norm(queries, axis=1) * np.abs(np.linalg.norm(vectors, axis=1)).max()
    for row, scores, listed, slack in zip(exact, found.scores, found.rows, close, strict=True):
        expected = np.sort(row)[::-1][:k]
        count = int(np.isfinite(expected).sum())
        assert (listed[:count] >= 0).all() and len(set(listed[:count].tolist())) == count
        assert available[listed[:count]].all()
        np.testing.assert_allclose(scores[:count], row[listed[:count]], rtol=0, atol=slack + 1e-30)
        np.testing.assert_allclose(scores[:count], expected[:count], rtol=0, atol=slack + 1e-30)
        assert (listed[count:] == -1).all() and (scores[count:] == -np.inf).all()
        order = list(zip(-scores[:count], listed[:count], strict=True))
        assert order == sorted(order)


@pytest.mark.parametrize(
    ("items", "dim", "n", "k"),
    [(1, 3, 1, 1), (1, 96, 2, 5), (63, 5, 7, 20), (64, 64, 6, 64), (65, 1, 13, 10),
     (3000, 97, 20, 50), (5000, 16, 3, 300), (2000, 130, 1, 20)],
)  # fmt: skip
def test_the_best_items_are_found(items, dim, n, k):
    draw = np.random.default_rng(items + dim)
    vectors = draw.standard_normal((items, dim), np.float32) * draw.lognormal(size=(items, 1))
    vectors, queries = vectors.astype(np.float32), draw.standard_normal((n, dim), np.float32)
    available = draw.random(items) < 0.8
    found = filled(vectors, available).search(queries, vectors, k)
    check(found, queries, vectors, available, k)


def ascending(draw, items, dim):
    """Every item is better than all before it."""
    return np.linspace(0.1, 3.0, items, dtype=np.float32)[:, None] * np.ones((1, dim), np.float32)


def nearly_equal(draw, items, dim):
    """Closer together than 8 bits tell apart."""
    return (1.0 + 1e-6 * draw.standard_normal((items, dim))).astype(np.float32)


def few_kinds(draw, items, dim):
    return draw.standard_normal((5, dim), np.float32)[draw.integers(0, 5, items)]


def all_equal(draw, items, dim):
    return np.ones((items, dim), np.float32)


def all_zero(draw, items, dim):
    return np.zeros((items, dim), np.float32)


def one_component(draw, items, dim):
    """The worst case of a scale per vector: all but one component are lost in 8 bits."""
    vectors = 1e-3 * draw.standard_normal((items, dim))
    vectors[np.arange(items), draw.integers(0, dim, items)] = 1.0
    return vectors.astype(np.float32)


def of_all_sizes(draw, items, dim):
    size = 10.0 ** draw.uniform(-30, 15, (items, 1))
    return (size * draw.standard_normal((items, dim))).astype(np.float32)


@pytest.mark.parametrize(
    "kind", [ascending, nearly_equal, few_kinds, all_equal, all_zero, one_component, of_all_sizes]
)
@pytest.mark.parametrize("k", [1, 20, 50])
def test_items_that_are_hard_to_tell_apart_are_found_and_equal_ones_by_row(kind, k):
    draw = np.random.default_rng(7)
    vectors = kind(draw, 1500, 24)
    queries = np.concatenate([np.ones((1, 24)), np.zeros((1, 24)), draw.standard_normal((6, 24))])
    queries = queries.astype(np.float32)
    available = draw.random(len(vectors)) < 0.9
    found = filled(vectors, available).search(queries, vectors, k)
    check(found, queries, vectors, available, k)
    if kind in (all_equal, all_zero):
        assert (found.rows == np.flatnonzero(available)[:k]).all()


def test_what_is_not_finite_is_not_found_and_finds_nothing():
    draw = np.random.default_rng(1)
    vectors, queries = draw.standard_normal((200, 8), np.float32), np.ones((3, 8), np.float32)
    vectors[[3, 50, 199], [0, 7, 2]] = [np.nan, np.inf, -np.inf]
    queries[1, 4], queries[2, 0] = np.nan, np.inf
    found = filled(vectors).search(queries, vectors, 200)
    assert set(found.rows[0].tolist()) == {-1, *range(200)} - {3, 50, 199}
    assert (found.rows[1:] == -1).all() and (found.scores[1:] == -np.inf).all()
    assert not np.isnan(found.scores).any()


def test_a_query_finds_the_same_whatever_else_is_asked():
    draw = np.random.default_rng(2)
    vectors, queries = (draw.standard_normal((n, 33), np.float32) for n in (3000, 61))
    index = filled(vectors)
    whole = index.search(queries, vectors, 30)
    for size in (1, 5, 6, 7, 60):
        for start in range(0, len(queries), size):
            part = index.search(queries[start : start + size], vectors, 30)
            np.testing.assert_array_equal(part.rows, whole.rows[start : start + size])
            np.testing.assert_array_equal(part.scores, whole.scores[start : start + size])
    threaded = index.search(queries, vectors, 30, threads=3)
    np.testing.assert_array_equal(threaded.rows, whole.rows)
    np.testing.assert_array_equal(threaded.scores, whole.scores)


def test_changes_are_found_at_once_and_a_grown_index_is_the_same_as_a_new_one():
    draw = np.random.default_rng(3)
    dim, vectors = 12, np.zeros((1000, 12), np.float32)
    available = np.zeros(1000, np.bool_)
    index, known = ItemIndex(dim, capacity=64), 0
    queries = draw.standard_normal((9, dim), np.float32)
    for _ in range(40):
        rows = np.unique(draw.integers(0, min(1000, known + 60), 25))
        known = max(known, int(rows.max()) + 1)
        vectors[rows] = draw.standard_normal((len(rows), dim), np.float32)
        index.set_vectors(rows, vectors[rows])
        some = rows[draw.random(len(rows)) < 0.7]
        available[some] = draw.random(len(some)) < 0.6
        index.set_available(some, available[some])
        found = index.search(queries, vectors[:known], 15)
        check(found, queries, vectors[:known], available[:known], 15)
        np.testing.assert_array_equal(index.findable, available[:known])
    new = filled(vectors[:known], available[:known]).search(queries, vectors[:known], 15)
    np.testing.assert_array_equal(new.rows, found.rows)
    np.testing.assert_array_equal(new.scores, found.scores)


def test_an_index_without_items_finds_nothing():
    found = ItemIndex(4).search(np.ones((2, 4), np.float32), np.zeros((0, 4), np.float32), 3)
    assert (found.rows == -1).all()
    none = ItemIndex(4).search(np.ones((0, 4), np.float32), np.zeros((0, 4), np.float32), 3)
    assert none.rows.shape == (0, 3)


@pytest.mark.parametrize("kind", ["AVX-512 VNNI", "AVX-VNNI", "AVX2", "generic"])
def test_every_instruction_set_gives_the_same_products(kind, monkeypatch):
    has = llvm.CPU
    if kind != "generic" and not has.get(
        {"AVX2": "avx2", "AVX-VNNI": "avxvnni"}.get(kind, "avx512vnni")
    ):
        pytest.skip(f"this CPU has no {kind}")
    monkeypatch.setattr(tiles, "_WIDE_VNNI", kind == "AVX-512 VNNI")
    monkeypatch.setattr(tiles, "_VNNI", "VNNI" in kind)
    monkeypatch.setattr(tiles, "_AVX2", kind == "AVX2")
    tile = tiles.score_tile

    @njit
    def score(queries, bounds, items, offsets, numbers, products, masks):
        tile(queries.ctypes.data, bounds.ctypes.data, items.ctypes.data, offsets.ctypes.data,
             numbers.ctypes.data, numbers.strides[0], queries.shape[1], products.ctypes.data,
             masks.ctypes.data)  # fmt: skip

    draw, width = np.random.default_rng(4), 40
    levels = 127 if kind == "AVX2" else 255
    queries = draw.integers(0, levels, (tiles.QUERIES, width), np.uint8, endpoint=True)
    queries[0] = levels
    items = draw.integers(
        -127, 127, (tiles.ITEMS // llvm.LANES, width // 4, llvm.LANES, 4), np.int8
    )
    items[0] = 127
    offsets = draw.integers(-1000, 1000, tiles.ITEMS, np.int32)
    numbers = draw.random((3, tiles.ITEMS), np.float32)
    bounds = draw.random((tiles.QUERIES, 3), np.float32) * 1e4
    products = np.zeros((tiles.QUERIES, tiles.ITEMS), np.float32)
    masks = np.zeros(tiles.QUERIES, np.uint64)
    score(queries, bounds, items, offsets, numbers, products, masks)
    flat = items.transpose(0, 2, 1, 3).reshape(tiles.ITEMS, width).astype(np.int64)
    expected = (queries.astype(np.int64) @ flat.T + offsets) * numbers[0].astype(np.float64)
    np.testing.assert_allclose(products, expected, rtol=1e-6)
    slack = bounds[:, :1] * numbers[1] + bounds[:, 1:2] * numbers[2]
    above = products + slack >= bounds[:, 2:]
    bits = (masks[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    near = np.abs(products + slack - bounds[:, 2:]) < 1e-2
    assert ((bits == 1) == above)[~near].all() and (~near).mean() > 0.9
    best = tiles.best_of_tile

    @njit
    def look(queries, items, offsets, numbers, largest):
        best(queries.ctypes.data, items.ctypes.data, offsets.ctypes.data, numbers.ctypes.data,
             numbers.strides[0], queries.shape[1], largest.ctypes.data)  # fmt: skip

    left_out = draw.random(tiles.ITEMS) < 0.3
    numbers[1, left_out] = -np.inf
    largest = np.full(tiles.QUERIES, -np.inf, np.float32)
    largest[1] = 1e9
    look(queries, items, offsets, numbers, largest)
    wanted = products[:, ~left_out].max(axis=1)
    wanted[1] = 1e9
    assert (largest == wanted).all()


@pytest.mark.parametrize("k", [1, 20, 300])
def test_large_catalogues_are_looked_at_in_larger_groups(k):
    draw, items = np.random.default_rng(5), 150_000
    vectors = draw.standard_normal((items, 8)).astype(np.float32)
    vectors[draw.integers(0, items, 3000)] = vectors[7]  # equal ones
    queries = np.concatenate([draw.standard_normal((9, 8)), vectors[7:8]]).astype(np.float32)
    index = ItemIndex(8)
    index.set_vectors(np.arange(items), vectors)
    available = draw.random(items) < 0.6
    available[:20_000] = False  # groups without any
    index.set_available(np.arange(items), available)
    found = index.search(queries, vectors, k, threads=2)
    scores = (queries.astype(np.float64) @ vectors.T).astype(np.float32)
    scores[:, ~available] = -np.inf
    expected = -np.sort(-scores, axis=1)[:, :k]
    np.testing.assert_allclose(found.scores, expected, rtol=1e-5, atol=1e-5)
    assert available[found.rows].all()
    assert all(len(set(rows)) == k for rows in found.rows.tolist())
    ties = found.scores[:, 1:] == found.scores[:, :-1]
    assert (np.diff(found.rows, axis=1)[ties] > 0).all()
