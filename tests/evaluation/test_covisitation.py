"""Co-visitation, by hand and against its definition."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from event_logs import N_ITEMS, N_USERS, all_of, make_log, pairs
from hypothesis import given
from hypothesis import strategies as st

from worker.evaluation.baselines import Covisitation
from worker.evaluation.baselines.covisitation import CovisitationCounts


def learned(items, window=5, decay=0.5, query_length=10, n_items=5):
    """The counts after one user's items in order."""
    counts = CovisitationCounts(n_items, window, decay, query_length)
    for position, item in enumerate(items):
        counts.learn(items[:position], item)
    return counts


def test_a_follower_counts_one_over_its_distance():
    counts = learned([0, 1, 2, 1])
    assert counts.scores([0]).tolist() == [0, 1 + 1 / 3, 1 / 2, 0, 0]
    assert counts.scores([1]).tolist() == [0, 1 / 2, 1, 0, 0]
    assert counts.scores([2]).tolist() == [0, 1, 0, 0, 0]
    assert counts.scores([3]).tolist() == [0, 0, 0, 0, 0]


def test_pairs_reach_forward_only_and_no_further_than_the_window():
    counts = learned([0, 1, 2, 3], window=2)
    assert counts.scores([0]).tolist() == [0, 1, 1 / 2, 0, 0]
    assert counts.scores([3]).tolist() == [0, 0, 0, 0, 0]


def test_older_items_of_the_query_count_less():
    counts = learned([0, 1, 2], decay=0.5)
    assert counts.scores([0, 1]).tolist() == [0, 0.5, 1 + 0.5 * 0.5, 0, 0]
    assert counts.scores([1, 0]).tolist() == [0, 1, 1 / 2 + 0.5 * 1, 0, 0]


def test_an_item_without_followers_is_a_step_like_any_other():
    counts = learned([0, 1], decay=0.5)
    assert counts.scores([0, 4]).tolist() == [0, 0.5, 0, 0, 0]


def test_the_query_is_the_last_items_only():
    counts = learned([0, 1, 2], query_length=1)
    assert counts.scores([0, 1]).tolist() == [0, 0, 1, 0, 0]


def test_rows_grow():
    counts = learned([0, *range(1, 40)], window=40, n_items=40)
    assert counts.scores([0]).tolist() == [0, *(1 / distance for distance in range(1, 40))]


def test_only_the_online_variant_learns_from_the_stream():
    train = make_log([(0, 0), (0, 1)])
    # User 1 shows that 3 follows 2; user 2 then does the same.
    stream = make_log([(1, 2), (1, 3), (2, 2), (2, 3)])
    static = Covisitation().prequential_ranks(train, stream, all_of(stream), 5)
    online = Covisitation(online=True).prequential_ranks(train, stream, all_of(stream), 5)
    assert static.tolist() == [2, 3, 2, 3]
    assert online.tolist() == [2, 3, 2, 0]


def test_windows_of_earlier_users_reach_back_over_the_cut():
    train = make_log([(0, 4)])
    stream = make_log([(0, 3), (1, 4), (1, 3)])
    online = Covisitation(online=True).prequential_ranks(train, stream, all_of(stream), 5)
    assert online[2] == 0


@given(train=pairs(), items=st.permutations(range(N_ITEMS)))
def test_online_equals_static_where_there_is_nothing_to_learn(train, items):
    """Users with one event each make no pairs."""
    stream = make_log([(N_USERS + user, item) for user, item in enumerate(items)])
    args = (make_log(train), stream, all_of(stream), N_ITEMS)
    static = Covisitation().prequential_ranks(*args)
    online = Covisitation(online=True).prequential_ranks(*args)
    assert static.tolist() == online.tolist()


def ranks_by_definition(train, stream, method):
    """Count every pair afresh for every event, in exact arithmetic, and sort the catalogue."""
    decay = Fraction(4, 5)
    popularity = [sum(item == other for _, other in train) for item in range(N_ITEMS)]
    events = [*train, *stream]
    ranks = []
    for now in range(len(train), len(events)):
        user, target = events[now]
        weights = np.zeros((N_ITEMS, N_ITEMS), dtype=object)
        for other in {user for user, _ in events}:
            last = now if method.online else len(train)
            items = [item for someone, item in events[:last] if someone == other]
            for later in range(len(items)):
                for distance in range(1, min(method.window, later) + 1):
                    weights[items[later - distance], items[later]] += Fraction(1, distance)
        newest_first = [item for someone, item in events[:now] if someone == user][::-1]
        query = newest_first[: method.query_length]
        scores = [
            sum((decay**step * weights[source, item] for step, source in enumerate(query)), 0)
            for item in range(N_ITEMS)
        ]
        for item in newest_first[: method.skip_recent]:
            scores[item] = 0
        order = sorted(range(N_ITEMS), key=lambda i: (-scores[i], -popularity[i], i))
        ranks.append(order.index(target))
    return ranks


@pytest.mark.parametrize("online", [False, True])
@given(
    train=pairs(),
    stream=pairs(max_size=12, min_size=1),
    window=st.integers(1, 5),
    query_length=st.integers(1, 6),
    skip_recent=st.integers(0, 3),
)
def test_ranks_agree_with_the_definition(online, train, stream, **settings):
    method = Covisitation(online=online, **settings)
    log = make_log(stream)
    ranks = method.prequential_ranks(make_log(train), log, all_of(log), N_ITEMS)
    assert ranks.tolist() == ranks_by_definition(train, stream, method)
