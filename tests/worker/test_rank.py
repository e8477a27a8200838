"""The list is the exact top of the catalogue, ties and unavailable items included."""

import numpy as np
import pytest
import torch
from fake_model import FakeModel
from worker_parts import item

import worker.stages.rank_by_matrix as matrix_module
from worker.catalogue import Catalogue, ItemChange
from worker.stages.rank import rank
from worker.topk import top_items


def reference(scores: np.ndarray, unavailable: np.ndarray, k: int):
    """Sort every row whole: by score, then by row."""
    lists = []
    for row in scores:
        order = sorted(range(len(row)), key=lambda i: (-row[i], i))
        lists.append([i for i in order if not unavailable[i]][:k])
    return [entry + [-1] * (k - len(entry)) for entry in lists]


@pytest.mark.parametrize("distinct", [3, 12, 1000])
@pytest.mark.parametrize(("items", "k"), [(40, 7), (7, 7), (5, 7), (8, 7), (1, 7)])
def test_lists_are_the_exact_top_with_ties_by_row(distinct, items, k):
    draw = np.random.default_rng(items * distinct)
    scores = draw.integers(0, distinct, (50, items)).astype(np.float32)
    unavailable = draw.random(items) < 0.3
    best, rows = top_items(torch.tensor(scores), torch.tensor(unavailable), k)
    assert rows.tolist() == reference(scores, unavailable, k)
    for values, row, listed in zip(best.tolist(), scores, rows.tolist(), strict=True):
        assert values == [row[i] if i >= 0 else -np.inf for i in listed]


@pytest.fixture
def catalogue():
    catalogue = Catalogue(FakeModel())
    # Titles repeat, so vectors do: ties as a real catalogue has them.
    catalogue.apply([ItemChange(f"i{n}", item(n, title=f"kind {n % 7}")) for n in range(40)])
    return catalogue


def test_chunks_do_not_change_the_lists(catalogue, monkeypatch):
    model = FakeModel()
    queries = torch.randn(33, 8, generator=torch.Generator().manual_seed(1))
    recent = np.random.default_rng(1).integers(-1, 40, (33, 4))
    monkeypatch.setattr(Catalogue, "index", None)
    whole = rank(queries, recent, catalogue, model, 6)
    monkeypatch.setattr(matrix_module, "_CHUNK_ELEMENTS", 5 * 40)
    chunked = rank(queries, recent, catalogue, model, 6)
    np.testing.assert_array_equal(whole.rows, chunked.rows)
    np.testing.assert_array_equal(whole.reasons, chunked.reasons)
    np.testing.assert_allclose(whole.scores, chunked.scores, atol=1e-6)


def test_the_model_shifts_the_scores_of_recent_items(catalogue):
    model = FakeModel()
    query = catalogue.vectors[11:12].clone()
    nothing, newest = np.full((1, 4), -1), np.array([[11, 3, -1, -1]])
    plain = rank(query, nothing, catalogue, model, 40)
    shifted = rank(query, newest, catalogue, model, 40)
    score = {11: float(query[0] @ query[0])}
    assert plain.scores[0][plain.rows[0] == 11] == pytest.approx(score[11])
    assert shifted.scores[0][shifted.rows[0] == 11] == pytest.approx(score[11] - 0.4)


def test_no_queries_give_no_lists(catalogue):
    ranked = rank(torch.zeros(0, 8), np.empty((0, 4), np.int64), catalogue, FakeModel(), 6)
    assert ranked.rows.shape == ranked.scores.shape == (0, 6)


@pytest.mark.parametrize("k", [1, 6, 40, 60])
@pytest.mark.parametrize("gone", [0, 13, 39, 40])
def test_the_index_ranks_as_scoring_every_item_does(catalogue, monkeypatch, k, gone):
    model, draw = FakeModel(), np.random.default_rng(k + gone)
    some = draw.permutation(40)[:gone]
    catalogue.apply(
        [ItemChange(f"i{n}", item(n, title=f"kind {n % 7}", available=False)) for n in some]
    )
    queries = torch.randn(33, 8, generator=torch.Generator().manual_seed(k))
    recent = draw.integers(-1, 40, (33, 5))
    by_index = rank(queries, recent, catalogue, model, k)
    monkeypatch.setattr(Catalogue, "index", None)
    by_matrix = rank(queries, recent, catalogue, model, k)
    np.testing.assert_array_equal(by_index.rows, by_matrix.rows)
    np.testing.assert_array_equal(by_index.reasons, by_matrix.reasons)
    np.testing.assert_allclose(by_index.scores, by_matrix.scores, atol=1e-6)


def test_a_list_does_not_depend_on_the_other_queries(catalogue):
    queries = torch.randn(20, 8, generator=torch.Generator().manual_seed(3))
    recent = np.random.default_rng(3).integers(-1, 40, (20, 4))
    whole = rank(queries, recent, catalogue, FakeModel(), 9)
    for i in range(20):
        alone = rank(queries[i : i + 1], recent[i : i + 1], catalogue, FakeModel(), 9)
        np.testing.assert_array_equal(alone.rows[0], whole.rows[i])
        np.testing.assert_array_equal(alone.scores[0], whole.scores[i])
        np.testing.assert_array_equal(alone.reasons[0], whole.reasons[i])


def test_what_changes_in_the_catalogue_changes_the_next_list(catalogue):
    model = FakeModel()
    nothing = np.full((1, 1), -1)
    catalogue.apply([ItemChange("i99", item(99, title="something else"))])
    query = catalogue.vectors[40:41].clone()
    assert rank(query, nothing, catalogue, model, 3).rows[0, 0] == 40
    catalogue.apply([ItemChange("i99", item(99, title="another thing"))])
    score = float(query[0] @ catalogue.vectors[40])
    ranked = rank(query, nothing, catalogue, model, 41)
    assert ranked.scores[0][ranked.rows[0] == 40] == pytest.approx(score, abs=1e-6)
    catalogue.apply([ItemChange("i99", None)])
    assert 40 not in rank(query, nothing, catalogue, model, 41).rows
