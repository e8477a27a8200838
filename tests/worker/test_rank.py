"""The list is the exact top of the catalogue, ties and unavailable items included."""

import numpy as np
import pytest
import torch
from fake_model import FakeModel
from worker_parts import item

import worker.stages.rank as rank_module
from worker.catalogue import Catalogue, ItemChange
from worker.stages.rank import rank, top_items


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
    whole = rank(queries, recent, catalogue, model, 6)
    monkeypatch.setattr(rank_module, "_CHUNK_ELEMENTS", 5 * 40)
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
