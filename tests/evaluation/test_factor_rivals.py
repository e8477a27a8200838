"""Implicit ALS and the ridge head: prefixes, closed forms and ranks, against plain references."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
import torch
from event_logs import N_ITEMS, all_of, make_log, pairs
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import EvaluationError
from worker.evaluation.baselines import RIVALS
from worker.evaluation.baselines.als import ImplicitALS, weighted_prefixes
from worker.evaluation.baselines.item_vectors import item_vectors, pair_weights, ppmi
from worker.evaluation.baselines.neural.catalogue import Catalogue
from worker.evaluation.baselines.prefixes import NO_EVENT, LastResult, recent_before
from worker.evaluation.baselines.ridge import RidgeHead, ridge_heads
from worker.evaluation.top_lists import TopLists

pytest.importorskip("implicit", reason="the extra `rivals` is not installed")

METHODS = [ImplicitALS(factors=3, iterations=2), RidgeHead(size=3)]
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.integers(1, 5))
def test_each_event_knows_those_before_it_newest_first(items, length):
    windows = recent_before(torch.tensor([items]), length)[0].tolist()
    for event, window in enumerate(windows):
        past = items[:event][::-1][:length]
        assert window == past + [NO_EVENT] * (length - len(past))


def test_a_costly_result_is_kept_for_the_same_log_and_arguments():
    kept: LastResult[list[int]] = LastResult()
    log, other = make_log([(0, 1)]), make_log([(0, 1)])
    first = kept.get(log, (1, "a"), lambda: [1])
    assert kept.get(log, (1, "a"), lambda: [2]) is first
    assert kept.get(log, (1, "b"), lambda: [3]) == [3]
    assert kept.get(other, (1, "b"), lambda: [4]) == [4]


def test_older_events_weigh_less_and_repeats_add_up():
    windows = np.array([[4, 2, 4], [1, NO_EVENT, NO_EVENT], [NO_EVENT] * 3])
    prefixes = weighted_prefixes(windows, 5, recency=0.5).toarray()
    assert prefixes.tolist() == [[0, 0, 0.5, 0, 1.25], [0, 1, 0, 0, 0], [0] * 5]


@given(pairs(max_size=12), st.integers(1, 3))
def test_co_occurrence_counts_one_over_distance_both_ways(events, window):
    expected = np.zeros((N_ITEMS, N_ITEMS))
    for user in range(4):
        items = [item for someone, item in events if someone == user]
        for later in range(len(items)):
            for distance in range(1, min(window, later) + 1):
                expected[items[later - distance], items[later]] += 1 / distance
                expected[items[later], items[later - distance]] += 1 / distance
    rows, columns, weights = pair_weights(make_log(events), N_ITEMS, window)
    found = np.zeros((N_ITEMS, N_ITEMS))
    found[rows, columns] = weights
    assert found == pytest.approx(expected)


def test_information_is_that_of_its_formula():
    counts = np.array([[0.0, 4.0, 0.0], [4.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    rows, columns = np.nonzero(counts)
    rows, columns, information = ppmi(rows, columns, counts[rows, columns])
    totals = counts.sum(axis=1)
    context = totals**0.75 / (totals**0.75).sum()
    for row, column, found in zip(rows, columns, information, strict=True):
        joint = counts[row, column] / counts.sum()
        exact = math.log(joint / (totals[row] / counts.sum() * context[column]))
        assert found == pytest.approx(exact)
    assert len(information) == 4


def test_vectors_rebuild_the_matrix_and_are_a_function_of_the_log():
    rng = np.random.default_rng(5)
    log = make_log([(int(rng.integers(4)), int(rng.integers(6))) for _ in range(60)])
    vectors = item_vectors(log, 6, size=6, window=2, power=1.0)
    rows, columns, values = ppmi(*pair_weights(log, 6, 2))
    matrix = np.zeros((6, 6))
    matrix[rows, columns] = values
    # U·S·(U·S)ᵀ = M·Mᵀ, up to the scale of the vectors.
    exact = torch.from_numpy(matrix @ matrix.T).float()
    found = vectors @ vectors.T
    assert torch.allclose(found / found.norm(), exact / exact.norm(), atol=1e-5)
    assert vectors.norm(dim=1).mean() == pytest.approx(1.0)
    assert torch.equal(vectors, item_vectors(log, 6, size=6, window=2, power=1.0))


def test_without_pairs_there_are_no_directions():
    assert not item_vectors(make_log([(0, 1), (1, 2)]), 6, size=4, window=2, power=0.0).any()


def test_the_head_is_the_ridge_solution_in_all_dimensions():
    torch.manual_seed(1)
    vectors = torch.randn(9, 5, dtype=torch.float64)
    windows = torch.tensor([[3, 7, 3], [8, 1, NO_EVENT], [NO_EVENT] * 3])
    heads = ridge_heads(vectors, windows, penalty=0.3, recency=0.6)
    for window, head in zip(windows.tolist(), heads, strict=True):
        past = [item for item in window if item != NO_EVENT]
        x, c = vectors[past], 0.6 ** torch.arange(len(past), dtype=torch.float64)
        system = x.T @ (c[:, None] * x) + 0.3 * torch.eye(5, dtype=torch.float64)
        assert torch.allclose(head, torch.linalg.solve(system, x.T @ c))


def folded_in(factors, past, method):
    """The user's factor by its normal equations, an item's confidence summed over its events."""
    confidence = np.zeros(len(factors))
    for steps_back, item in enumerate(past[::-1][: method.query_length]):
        confidence[item] += method.alpha * method.recency**steps_back
    weights = np.where(confidence > 0, confidence, 1.0)
    system = factors.T @ (weights[:, None] * factors) + method.regularization * np.eye(
        method.factors
    )
    return np.linalg.solve(system, factors.T @ confidence)


@pytest.mark.parametrize("skip_recent", [0, 2])
def test_als_folds_a_user_in_before_each_event(skip_recent):
    rng = np.random.default_rng(2)
    train = make_log([(int(rng.integers(30)), int(rng.integers(12))) for _ in range(200)])
    stream = make_log([(40 + int(rng.integers(3)), int(rng.integers(12))) for _ in range(40)])
    method = ImplicitALS(
        factors=4, alpha=20.0, recency=0.7, query_length=5, skip_recent=skip_recent
    )
    ranks = method.prequential_ranks(train, stream, all_of(stream), 12)
    catalogue = Catalogue(train, 12)
    factors = method._fit(catalogue.by_row(train), 12).item_factors.astype(np.float64)
    rows = catalogue.by_row(stream)
    for event in range(len(stream)):
        past = rows.items[:event][rows.users[:event] == rows.users[event]]
        scores = factors @ folded_in(factors, past.tolist(), method)
        scores[past[len(past) - min(skip_recent, len(past)) :]] = -np.inf
        order = np.lexsort((np.arange(12), -np.round(scores, 4)))
        assert ranks[event] == order.tolist().index(rows.items[event])


@every_method
@settings(deadline=None)
@given(train=pairs(min_size=1), past=pairs(), future=pairs(), other=pairs())
def test_later_events_do_not_change_earlier_ranks(method, train, past, future, other):
    def ranks_of_the_past(later):
        stream = make_log([*past, *later])
        return method.prequential_ranks(make_log(train), stream, all_of(stream), N_ITEMS)[
            : len(past)
        ].tolist()

    assert ranks_of_the_past(future) == ranks_of_the_past(other)


@every_method
def test_a_user_without_events_gets_the_popular_items(method):
    train = make_log([(0, 2), (1, 2), (2, 2), (0, 4), (1, 4), (2, 1)])
    for place, item in enumerate([2, 4, 1, 0, 3, 5]):
        stream = make_log([(3, item)])
        ranks = method.prequential_ranks(train, stream, all_of(stream), N_ITEMS)
        assert ranks.tolist() == [place]


@every_method
def test_what_goes_together_is_recommended_together(method):
    # Items 0 to 4 and 5 to 9 are two worlds; every user lives in one of them.
    rng = np.random.default_rng(0)
    events = [(user, 5 * (user % 2) + int(rng.integers(5))) for user in range(60) for _ in range(6)]
    stream = make_log([(60, 6), (60, 8), (61, 1), (61, 3)])
    lists = TopLists(all_of(stream))
    method.prequential_ranks(make_log(events), stream, all_of(stream), 10, lists)
    after_one_event = [set(row[:4].tolist()) for row in lists.lists()[[1, 3]]]
    assert after_one_event == [{5, 7, 8, 9}, {0, 2, 3, 4}]


@pytest.mark.parametrize("name", ["als", "ridge"])
def test_candidates_share_what_they_train_and_differ_in_settings(name):
    methods = RIVALS[name].candidates(exclude_seen=True, seed=3, device="cpu")
    assert {method.name for method in methods} == {name}
    settings = [tuple(method.settings.items()) for method in methods]
    assert len(set(settings)) == len(settings) > 3
    assert all(method.exclude_seen for method in methods)
    assert "fitted" not in methods[0].settings
    assert "vectors" not in methods[0].settings


def test_without_implicit_als_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)
    log = make_log([(0, 1), (0, 2)])
    with pytest.raises(EvaluationError, match=r"innerloop\[rivals\]"):
        ImplicitALS().prequential_ranks(log, log, all_of(log), N_ITEMS)
