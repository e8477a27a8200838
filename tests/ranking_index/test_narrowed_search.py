"""A narrowed search finds the best of what it may find, and not the best of all, cut down."""

from __future__ import annotations

import numpy as np
import pytest
from test_index import all_equal, ascending, few_kinds, filled, nearly_equal, of_all_sizes

from worker.ranking_index.index import ItemIndex
from worker.ranking_index.narrowing import WORD, Narrowing, mask_of, sorted_rows, words_for


def bits(mask: np.ndarray) -> np.ndarray:
    """Pack (groups, rows) of booleans as `Narrowing.allowed` has them, bit by bit."""
    allowed = np.zeros((len(mask), words_for(mask.shape[1])), np.uint64)
    for group, row in zip(*np.nonzero(mask), strict=True):
        allowed[group, row // WORD] |= np.uint64(1) << np.uint64(row % WORD)
    return allowed


def best(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Sort whole rows: by score, then by row."""
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    values = np.take_along_axis(scores, rows, axis=1)
    return np.where(values > -np.inf, rows, -1), values


def drawn(draw, n, items, *, groups, width):
    mask = draw.random((groups, items)) < draw.uniform(0.02, 0.9, (groups, 1))
    mask[0] = True
    excluded = draw.integers(-1, items, (n, width))
    return mask, draw.integers(0, groups, n), excluded


def check(index, queries, vectors, narrow, added, *, k, close):
    mask, group, excluded = narrow
    exact = queries.astype(np.float64) @ vectors.astype(np.float64).T
    if added is not None:
        exact += added[: len(vectors)].astype(np.float64)
    permitted = mask[group] & index.findable
    for q, rows in enumerate(excluded):
        permitted[q, rows[rows >= 0]] = False
    expected, values = best(np.where(permitted, exact, -np.inf), k)
    narrowing = Narrowing(bits(mask), group, sorted_rows(excluded))
    found = index.search(queries, vectors, k, narrowing=narrowing, added=added)
    counts = (expected >= 0).sum(axis=1)
    assert ((found.rows >= 0).sum(axis=1) == counts).all()  # full wherever enough qualify
    for q, count in enumerate(counts):
        listed = found.rows[q, :count]
        assert permitted[q, listed].all() and len(set(listed.tolist())) == count
        np.testing.assert_allclose(found.scores[q, :count], values[q, :count], rtol=0, atol=close)
        np.testing.assert_allclose(exact[q, listed], values[q, :count], rtol=0, atol=close)
    return found, expected


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("width", [0, 12])
@pytest.mark.parametrize("raised", [None, 0.3, 50.0])
@pytest.mark.parametrize("size", [(1, 3, 1, 2), (65, 5, 7, 20), (3000, 24, 20, 20)])
def test_the_best_that_qualify_are_found(size, raised, width, groups):
    items, dim, n, k = size
    draw = np.random.default_rng(items + width)
    vectors = draw.standard_normal((items, dim), np.float32)
    queries = draw.standard_normal((n, dim), np.float32)
    index = filled(vectors, draw.random(items) < 0.9)
    added = None
    if raised is not None:
        some = draw.random(WORD * words_for(items)) < 0.1
        added = np.where(some, raised * draw.standard_normal(len(some)), 0).astype(np.float32)
    narrow = drawn(draw, n, items, groups=groups, width=width)
    # Half of what is left out would be found first.
    first = np.argsort(-(queries @ vectors.T), axis=1)[:, : width // 2]
    narrow[2][:, : first.shape[1]] = first
    found, expected = check(index, queries, vectors, narrow, added, k=k, close=1e-4)
    assert (found.rows == expected).mean() > 0.999


@pytest.mark.parametrize("kind", [ascending, nearly_equal, few_kinds, all_equal, of_all_sizes])
def test_items_that_are_hard_to_tell_apart_are_found(kind):
    draw = np.random.default_rng(5)
    vectors = kind(draw, 1500, 24)
    queries = np.concatenate([np.ones((1, 24)), np.zeros((1, 24)), draw.standard_normal((6, 24))])
    queries = queries.astype(np.float32)
    size = float(np.abs(queries @ vectors.T).max())
    added = np.zeros(WORD * words_for(1500), np.float32)
    added[:1500] = draw.choice([0, 1, -2], 1500) * draw.choice([1e-6, 1e-2, 3], 1500)
    close = 1e-5 * (1 + size)
    for groups, amounts in ((3, added), (3, None), (1, None)):
        narrow = drawn(draw, 8, 1500, groups=groups, width=6)
        check(filled(vectors), queries, vectors, narrow, amounts, k=20, close=close)


def test_equal_items_come_by_row():
    vectors = np.ones((500, 8), np.float32)
    mask = np.zeros((1, 500), np.bool_)
    mask[0, 130:] = True
    excluded = np.array([[131, 140, -1]])
    added = np.zeros(512, np.float32)
    added[400:404] = 1.0
    narrowing = Narrowing(bits(mask), np.zeros(1, np.int64), sorted_rows(excluded))
    query = np.ones((1, 8), np.float32)
    plain = filled(vectors).search(query, vectors, 5, narrowing=narrowing)
    assert plain.rows.tolist() == [[130, 132, 133, 134, 135]]
    raised = filled(vectors).search(query, vectors, 6, narrowing=narrowing, added=added)
    assert raised.rows.tolist() == [[400, 401, 402, 403, 130, 132]]
    assert raised.scores[0].tolist() == [9, 9, 9, 9, 8, 8]


def test_a_query_finds_the_same_whatever_else_is_asked():
    draw = np.random.default_rng(2)
    vectors, queries = (draw.standard_normal((n, 33), np.float32) for n in (3000, 31))
    index = filled(vectors)
    mask, group, excluded = drawn(draw, 31, 3000, groups=3, width=5)
    added = (draw.standard_normal(WORD * words_for(3000)) * (draw.random(3008) < 0.1)).astype("f4")
    narrowing = Narrowing(bits(mask), group, sorted_rows(excluded))
    whole = index.search(queries, vectors, 30, narrowing=narrowing, added=added, threads=2)
    for size in (1, 7):
        for start in range(0, 31, size):
            part = slice(start, start + size)
            alone = index.search(
                queries[part], vectors, 30, narrowing=narrowing.part(part), added=added
            )
            np.testing.assert_array_equal(alone.rows, whole.rows[part])
            np.testing.assert_array_equal(alone.scores, whole.scores[part])


def test_bits_are_unpacked_as_they_were_packed():
    mask = np.random.default_rng(1).random((3, 200)) < 0.5
    np.testing.assert_array_equal(mask_of(bits(mask), 200), mask)


def test_what_does_not_cover_all_rows_is_refused():
    vectors = np.ones((65, 4), np.float32)
    index, query = filled(vectors), np.ones((1, 4), np.float32)
    narrow = Narrowing(np.zeros((1, 1), np.uint64), np.zeros(1, np.int64), np.zeros((1, 0), int))
    with pytest.raises(ValueError, match="fewer rows"):
        index.search(query, vectors, 1, narrowing=narrow)
    with pytest.raises(ValueError, match="fewer rows"):
        index.search(query, vectors, 1, added=np.zeros(65, np.float32))
    assert (ItemIndex(4).search(query, vectors, 1, narrowing=narrow).rows == -1).all()


def test_what_is_left_out_is_not_counted_where_groups_of_items_are_looked_at():
    """One good item in each group, and the best of those left out."""
    items, k = 64 * 60, 10
    vectors = np.full((items, 8), 0.01, np.float32)
    vectors[::64] = np.linspace(1, 2, 60, dtype=np.float32)[:, None]
    query = np.ones((1, 8), np.float32)
    left_out = np.array([[64 * n for n in range(59, 59 - 15, -1)]])
    everything = np.ones((1, items), np.bool_)
    narrowing = Narrowing(bits(everything), np.zeros(1, np.int64), sorted_rows(left_out))
    found = filled(vectors).search(query, vectors, k, narrowing=narrowing)
    assert found.rows[0].tolist() == [64 * n for n in range(44, 44 - k, -1)]
