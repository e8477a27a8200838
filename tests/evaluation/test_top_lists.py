"""Which lists are kept, and that they are the order in which ranks count places."""

from __future__ import annotations

import numpy as np
import pytest
from event_logs import N_ITEMS, all_of, make_log, pairs
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.evaluation.baselines import Covisitation, default_baselines
from worker.evaluation.baselines.ranking import CatalogueRanker
from worker.evaluation.top_lists import NO_ITEM, TopLists
from worker.ranking_quality import TOP

METHODS = {method.name: method for method in default_baselines()}


def test_the_sample_is_of_scored_events_and_depends_on_the_seed_alone():
    scored = np.arange(1000) % 3 == 0
    lists = TopLists(scored, sample=50, seed=1)
    assert len(lists.rows()) == 50
    assert scored[lists.rows()].all()
    assert lists.rows().tolist() == TopLists(scored, sample=50, seed=1).rows().tolist()
    assert lists.rows().tolist() != TopLists(scored, sample=50, seed=2).rows().tolist()
    assert [lists.wants(row) for row in range(1000)] == lists.mask.tolist()


def test_few_scored_events_are_all_wanted():
    assert TopLists(np.array([True, False, True]), sample=10).rows().tolist() == [0, 2]


def test_lists_come_back_in_the_streams_order_and_filled_up():
    lists = TopLists(np.ones(3, np.bool_))
    lists.add(2, [5, 4])
    lists.add(0, range(30))
    kept = lists.lists()
    assert kept[0].tolist() == list(range(TOP))
    assert kept[1].tolist() == [5, 4, *[NO_ITEM] * (TOP - 2)]
    assert len(kept) == 2


def test_a_list_that_is_not_wanted_is_refused():
    with pytest.raises(ValueError, match="event 1 is not wanted"):
        TopLists(np.array([True, False])).add(1, [3])


def test_progress_is_passed_on():
    told = []
    TopLists(np.ones(2, np.bool_), on_scored=told.append).advance(2)
    assert told == [2]


def test_equal_but_for_rounding_is_a_tie_in_lists_as_in_ranks():
    forwards, backwards = (0.1 + 0.2) + 0.3, 0.1 + (0.2 + 0.3)
    assert forwards > backwards
    ranker = CatalogueRanker(np.array([0, 1, 2]))
    assert ranker.top(np.array([forwards, backwards, 0.0]), 2).tolist() == [1, 0]
    assert ranker.top(np.array([forwards, backwards, 0.0]), 1).tolist() == [1]


catalogues = st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 3)), min_size=1, max_size=12)


@given(catalogues, st.integers(1, 14), st.data())
def test_the_item_at_a_place_of_the_list_has_that_rank(rows, k, data):
    scores = np.array([score for score, _ in rows], dtype=np.float64)
    ranker = CatalogueRanker(np.array([count for _, count in rows]))
    excluded = sorted(data.draw(st.sets(st.integers(0, len(rows) - 1))))
    top = ranker.top(scores, k, excluded).tolist()
    assert len(top) == min(k, len(rows) - len(excluded))
    assert not set(top) & set(excluded)
    assert [ranker.rank(scores, item, excluded) for item in top] == list(range(len(top)))


@pytest.mark.parametrize("exclude_seen", [False, True])
@pytest.mark.parametrize("name", METHODS)
@settings(deadline=None)  # the first call may compile
@given(train=pairs(min_size=1), stream=pairs(min_size=1))
def test_the_item_of_an_event_stands_at_its_rank_in_the_events_list(
    name, exclude_seen, train, stream
):
    method = next(m for m in default_baselines(exclude_seen=exclude_seen) if m.name == name)
    log = make_log(stream)
    lists = TopLists(all_of(log))
    ranks = method.prequential_ranks(make_log(train), log, all_of(log), N_ITEMS, lists)
    ranked = np.flatnonzero(ranks >= 0)
    kept = lists.lists()
    assert len(kept) == len(ranked)
    assert kept[np.arange(len(ranked)), ranks[ranked]].tolist() == log.items[ranked].tolist()


def test_collecting_lists_changes_no_rank_and_tells_of_every_event():
    train, stream = make_log([(0, 1), (0, 2), (1, 3)]), make_log([(2, 1), (2, 2), (3, 4)])
    told = []
    lists = TopLists(all_of(stream), sample=1, on_scored=told.append)
    method = Covisitation(online=True)
    ranks = method.prequential_ranks(train, stream, all_of(stream), N_ITEMS, lists)
    assert ranks.tolist() == method.prequential_ranks(train, stream, all_of(stream), 6).tolist()
    assert told == [0, 1, 1, 1]
    assert len(lists.lists()) == 1


def test_settings_are_what_a_report_can_show():
    assert METHODS["covisitation_online"].settings == {
        "online": True,
        "window": 5,
        "query_length": 10,
        "decay": 0.8,
        "skip_recent": 0,
    }
    assert METHODS["popularity"].settings["half_life_ms"] == "inf"
