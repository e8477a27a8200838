"""V-SKNN, by hand and against its definition."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from event_logs import N_ITEMS, all_of, make_log, pairs
from hypothesis import given
from hypothesis import strategies as st

from worker.evaluation.baselines import VSKNN
from worker.evaluation.baselines.vsknn import Adjacency, NeighbourScorer, SessionIndex

# User 0: {0, 1}, user 1: {1, 2}, user 2: {0, 3}; user 1 is the most recent, then 2, then 0.
TRAIN = [(0, 0), (1, 1), (0, 1), (2, 0), (2, 3), (2, 0), (1, 2)]


def scorer(k=10, sample_size=10, idf_weight=0.0, train=TRAIN):
    return NeighbourScorer(SessionIndex(make_log(train), 5), k, sample_size, idf_weight)


def test_sessions_are_item_sets_numbered_from_the_most_recent():
    index = SessionIndex(make_log(TRAIN), 5)
    assert [index.items_of.row(session).tolist() for session in range(3)] == [
        [1, 2],
        [0, 3],
        [0, 1],
    ]
    assert index.sessions_with.row(0).tolist() == [1, 2]
    assert index.sessions_with.row(4).tolist() == []


def test_similarity_weighs_positions_and_scores_the_step_to_the_latest_common_item():
    # Current session 0, 1: pos(0)/n = 1/2, pos(1)/n = 1.
    # User 0 {0, 1}: sim 3/2, step 1. User 1 {1, 2}: sim 1, step 1. User 2 {0, 3}: sim 1/2, step 2.
    scores = scorer().scores([0, 1])
    assert scores.tolist() == [1.5 + 0.25, 1.5 + 1.0, 1.0, 0.25, 0.0]


def test_a_repeated_item_counts_at_its_last_position():
    # Current session 0, 1, 0: pos(0) = 3, pos(1) = 2.
    scores = scorer().scores([0, 1, 0])
    both, only_1, only_0 = 5 / 3, (2 / 3) / 2, 1.0
    assert scores.tolist() == pytest.approx([both + only_0, both + only_1, only_1, only_0, 0])


def test_only_the_k_most_similar_sessions_count():
    assert scorer(k=1).scores([0, 1]).tolist() == [1.5, 1.5, 0, 0, 0]


def test_of_equally_similar_sessions_the_more_recent_is_nearer():
    # Both user 2 and user 0 hold item 0; user 2 is the more recent.
    assert scorer(k=1).scores([0]).tolist() == [1, 0, 0, 1, 0]


def test_candidates_are_the_most_recent_sessions_however_similar():
    # Of the three that share an item, users 1 and 2 are the most recent; user 0 is most similar.
    assert scorer(sample_size=2).scores([0, 1]).tolist() == [0.25, 1, 1, 0.25, 0]


def test_rare_items_are_favoured_by_their_idf():
    plain, weighted = scorer().scores([0, 1]), scorer(idf_weight=0.5).scores([0, 1])
    idf = [math.log(3 / 2), math.log(3 / 2), math.log(3), math.log(3), 0]
    expected = [score * (1 + 0.5 * i) for score, i in zip(plain.tolist(), idf, strict=True)]
    assert weighted[:4].tolist() == pytest.approx(expected[:4])


def test_nothing_is_left_over_from_one_query_to_the_next():
    one = scorer(sample_size=2)
    one.scores([0, 1])
    one.scores([0])
    assert one.scores([0, 1]).tolist() == scorer(sample_size=2).scores([0, 1]).tolist()


@pytest.mark.parametrize("history", [[], [4]])
def test_without_a_neighbour_no_item_scores(history):
    assert scorer().scores(history).tolist() == [0] * 5


def test_the_idf_weight_is_chosen_on_the_training_events_where_it_is_not_given():
    # Items 0 to 24 are in everyone's session, so that their scores crowd out 30 + group: the item
    # that members of a group share with nobody else, and that comes last.
    rng = np.random.default_rng(3)
    log = []
    for user in range(120):
        group = user % 4
        log += [(user, 25 + group), *((user, int(item)) for item in rng.permutation(25))]
        log += [(user, 30 + group)]
    assert VSKNN().chosen_idf_weight(make_log(log), 40) > 0
    assert VSKNN(idf_weight=0.25).chosen_idf_weight(make_log(log), 40) == 0.25
    assert VSKNN().chosen_idf_weight(make_log([]), 40) == 0


def test_rows_of_an_adjacency_come_one_after_the_other():
    table = Adjacency.from_pairs(np.array([2, 0, 2]), np.array([7, 5, 6]), 4)
    columns, lengths = table.rows(np.array([2, 1, 0]))
    assert columns.tolist() == [6, 7, 5]
    assert lengths.tolist() == [2, 0, 1]


def ranks_by_definition(train, stream, k, sample_size, query_length):
    """The method as its paper has it, with sets and exact arithmetic, one event at a time."""
    popularity = [sum(item == other for _, other in train) for item in range(N_ITEMS)]
    sessions = {user: {item for other, item in train if other == user} for user, _ in train}
    last_row = {user: row for row, (user, _) in enumerate(train)}
    by_recency = sorted(sessions, key=lambda user: -last_row[user])
    events = [*train, *stream]
    ranks = []
    for now in range(len(train), len(events)):
        user, target = events[now]
        current = [item for other, item in events[:now] if other == user][-query_length:]
        position = {item: place for place, item in enumerate(current, start=1)}
        sharing = [other for other in by_recency if sessions[other] & set(current)][:sample_size]
        similarity = {
            other: sum(
                Fraction(position[item], len(current)) for item in sessions[other] & set(current)
            )
            for other in sharing
        }
        scores = dict.fromkeys(range(N_ITEMS), Fraction(0))
        for other in sorted(sharing, key=lambda other: -similarity[other])[:k]:
            steps = [step for step, item in enumerate(current[::-1], 1) if item in sessions[other]]
            for item in sessions[other]:
                scores[item] += similarity[other] / min(steps)
        order = sorted(range(N_ITEMS), key=lambda i: (-scores[i], -popularity[i], i))
        ranks.append(order.index(target))
    return ranks


@given(
    train=pairs(),
    stream=pairs(max_size=12, min_size=1),
    k=st.integers(1, 4),
    sample_size=st.integers(1, 4),
    query_length=st.integers(1, 6),
)
def test_ranks_agree_with_the_definition(train, stream, k, sample_size, query_length):
    method = VSKNN(k=k, sample_size=sample_size, query_length=query_length, idf_weight=0.0)
    log = make_log(stream)
    ranks = method.prequential_ranks(make_log(train), log, all_of(log), N_ITEMS)
    assert ranks.tolist() == ranks_by_definition(train, stream, k, sample_size, query_length)
