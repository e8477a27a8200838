"""V-SKNN, STAN and VSTAN, by hand and against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from event_logs import N_ITEMS, all_of, make_log, pairs
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.evaluation.baselines.session_knn import NeighbourScorer
from worker.evaluation.baselines.stan import STAN
from worker.evaluation.baselines.vsknn import VSKNN
from worker.evaluation.baselines.vstan import VSTAN

# User 0: {0, 1}, user 1: {1, 2}, user 2: {0, 3}; user 1 is the most recent, then 2, then 0.
TRAIN = [(0, 0), (1, 1), (0, 1), (2, 0), (2, 3), (2, 0), (1, 2)]


def scores_after(history, method, train=TRAIN, now=100):
    """The scores of a new user with the given items."""
    stream = make_log([(9, item) for item in history])
    scorer = NeighbourScorer(make_log(train), stream, 5, method.rule, online=False)
    for item in history:
        scorer.learn(9, item, now)
    return scorer.scores(9, now) if history else np.zeros(5)


def test_similarity_weighs_positions_and_scores_the_step_to_the_latest_common_item():
    # Current session 0, 1: pos(0)/n = 1/2, pos(1)/n = 1.
    # User 0 {0, 1}: sim 3/2, step 1. User 1 {1, 2}: sim 1, step 1. User 2 {0, 3}: sim 1/2, step 2.
    expected = [1.5 + 0.25, 1.5 + 1.0, 1.0, 0.25, 0.0]
    assert scores_after([0, 1], VSKNN(skip_recent=0)).tolist() == pytest.approx(expected)


def test_a_repeated_item_counts_at_its_last_position():
    # Current session 0, 1, 0: pos(0) = 3, pos(1) = 2.
    both, only_1, only_0 = 5 / 3, (2 / 3) / 2, 1.0
    expected = [both + only_0, both + only_1, only_1, only_0, 0]
    assert scores_after([0, 1, 0], VSKNN(skip_recent=0)).tolist() == pytest.approx(expected)


def test_only_the_k_most_similar_sessions_count():
    assert scores_after([0, 1], VSKNN(skip_recent=0, k=1)).tolist() == pytest.approx(
        [1.5, 1.5, 0, 0, 0]
    )


def test_of_equally_similar_sessions_the_more_recent_is_nearer():
    # Both user 2 and user 0 hold item 0; user 2 is the more recent.
    assert scores_after([0], VSKNN(skip_recent=0, k=1)).tolist() == [1, 0, 0, 1, 0]


def test_candidates_are_the_most_recent_sessions_however_similar():
    # Of the three that share an item, users 1 and 2 are the most recent; user 0 is most similar.
    scores = scores_after([0, 1], VSKNN(skip_recent=0, sample_size=2))
    assert scores.tolist() == pytest.approx([0.25, 1, 1, 0.25, 0])


def test_rare_items_are_favoured_by_their_idf():
    plain, weighted = (
        scores_after([0, 1], VSKNN(skip_recent=0)),
        scores_after([0, 1], VSKNN(skip_recent=0, idf_weight=0.5)),
    )
    idf = [math.log(3 / 2), math.log(3 / 2), math.log(3), math.log(3), 0]
    expected = [score * (1 + 0.5 * i) for score, i in zip(plain.tolist(), idf, strict=True)]
    assert weighted.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("history", [[], [4]])
def test_without_a_neighbour_no_item_scores(history):
    assert scores_after(history, VSKNN(skip_recent=0)).tolist() == [0] * 5


def test_stan_weighs_position_recency_and_distance():
    # User 0: [0, 1], last event at 2 ms; the current session is 0 alone, at 12 ms.
    method = STAN(skip_recent=0, position_scale=2.0, recency_scale_ms=10.0, distance_scale=0.5)
    scores = scores_after([0], method, train=TRAIN[:3], now=12)
    similarity = 1 / math.sqrt(2) * math.exp(-1)
    assert scores.tolist() == pytest.approx([similarity, similarity * math.exp(-2), 0, 0, 0])


def test_vstan_favours_neighbours_that_share_a_recent_item():
    # User 2 [0, 3, 0] shares item 0, at step 2 of the current session 0, 4.
    scores = scores_after(
        [0, 4], VSTAN(skip_recent=0, distance_scale=math.inf, match_scale=0.5), train=TRAIN[3:6]
    )
    similarity = math.exp(-1 / 3.5) / math.sqrt(2)
    weight = similarity * math.exp(-2)
    assert scores.tolist() == pytest.approx([weight, 0, 0, weight, 0])


def test_nothing_is_left_over_from_one_query_to_the_next():
    stream = make_log([(8, 0), (9, 0), (9, 1)])
    scorer = NeighbourScorer(
        make_log(TRAIN), stream, 5, VSTAN(skip_recent=0, sample_size=2).rule, online=False
    )
    for user, item in [(8, 0), (9, 0), (9, 1)]:
        scorer.learn(user, item, 100)
    first = scorer.scores(9, 100).tolist()
    scorer.scores(8, 100)
    scorer.scores(7, 100)
    assert scorer.scores(9, 100).tolist() == first


def test_what_was_just_acted_on_is_not_recommended_again():
    # Item 0 at step 1, item 1 at step 2; see the test of similarity above.
    kept = [scores_after([1, 0], VSKNN(skip_recent=skip))[:2] > 0 for skip in range(3)]
    assert np.array(kept).tolist() == [[True, True], [False, True], [False, False]]


@pytest.mark.parametrize("method", [VSKNN, STAN, VSTAN])
def test_only_the_online_variant_finds_neighbours_in_the_stream(method):
    train = make_log([(0, 0), (0, 1)])
    # User 1 holds 2 and 3; user 2 then shares 2.
    stream = make_log([(1, 2), (1, 3), (2, 2), (2, 3)])
    static = method().prequential_ranks(train, stream, all_of(stream), 5)
    online = method(online=True).prequential_ranks(train, stream, all_of(stream), 5)
    assert static.tolist() == [2, 3, 2, 3]
    assert online.tolist() == [2, 3, 2, 0]


def test_names_tell_the_variants_apart():
    methods = [cls(online=online) for cls in (VSKNN, STAN, VSTAN) for online in (False, True)]
    names = ["vsknn", "vsknn_online", "stan", "stan_online", "vstan", "vstan_online"]
    assert [method.name for method in methods] == names


def sessions_of(events):
    """Each user's items, most recently active user first."""
    sessions = {}
    for user, item in events:
        sessions[user] = [*sessions.pop(user, []), item]
    return dict(reversed(sessions.items()))


def scores_by_definition(method, learned, user, current, now):
    """The family as its papers have it, with dictionaries and sets, for one current session."""
    sessions = sessions_of(learned)
    last_times = {someone: time for time, (someone, _) in enumerate(learned)}
    n = len(current)
    steps = {item: n - place for place, item in enumerate(current)}
    weigh_similarity, weigh_match, weigh_distance, cosine = definitions(method, n)
    others = [s for s in sessions if s != user and set(sessions[s]) & set(current)]
    sharing = others[: method.sample_size]

    def similarity(s):
        common = [item for item in dict.fromkeys(current) if item in sessions[s]]
        common.sort(key=lambda item: -steps[item])
        total = 0.0
        for item in common:
            total += weigh_similarity(steps[item])
        if not cosine:
            return total
        age = now - last_times[s]
        return total / math.sqrt(len(set(sessions[s]))) * math.exp(-age / method.recency_scale_ms)

    nearest = sorted(sharing, key=lambda s: -similarity(s))[: method.k]
    scores = [0.0] * N_ITEMS
    for s in nearest:
        last = {item: place for place, item in enumerate(sessions[s])}
        common = max(last[item] for item in set(current) & set(last))
        match = weigh_match(min(steps[item] for item in set(current) & set(last)))
        for item, place in last.items():
            scores[item] += similarity(s) * match * weigh_distance(abs(place - common))
    for item in range(N_ITEMS):
        holders = sum(item in session for session in sessions.values())
        if steps.get(item, math.inf) <= method.skip_recent:
            scores[item] = 0.0
        if holders:
            scores[item] *= 1 + getattr(method, "idf_weight", 0) * math.log(len(sessions) / holders)
    return scores


def definitions(method, n):
    if isinstance(method, VSKNN):
        return (lambda m: n - m + 1, lambda m: 1 / m, lambda d: 1, False)
    match_scale = method.match_scale if isinstance(method, VSTAN) else math.inf
    return (
        lambda m: math.exp(-(m - 1) / method.position_scale),
        lambda m: math.exp(-(m - 1) / match_scale),
        lambda d: math.exp(-d / method.distance_scale),
        True,
    )


def ranks_by_definition(method, train, stream):
    """One event at a time, everything afresh."""
    popularity = [sum(item == other for _, other in train) for item in range(N_ITEMS)]
    events = [*train, *stream]
    ranks = []
    for now in range(len(train), len(events)):
        user, target = events[now]
        learned = events[: now if method.online else len(train)]
        current = [item for someone, item in events[:now] if someone == user]
        current = current[-method.query_length :]
        scores = scores_by_definition(method, learned, user, current, now)
        order = sorted(range(N_ITEMS), key=lambda i: (-round(scores[i], 9), -popularity[i], i))
        ranks.append(order.index(target))
    return ranks


SIZES = {
    "k": st.integers(1, 4),
    "sample_size": st.integers(1, 4),
    "query_length": st.integers(1, 6),
    "online": st.booleans(),
    "skip_recent": st.integers(0, 3),
}
IDF = {"idf_weight": st.sampled_from([0.0, 0.7])}
SCALES = {
    "position_scale": st.sampled_from([0.7, 2.3, math.inf]),
    "recency_scale_ms": st.sampled_from([5.0, math.inf]),
    "distance_scale": st.sampled_from([0.9, 3.1, math.inf]),
}
METHODS = st.one_of(
    st.builds(VSKNN, **SIZES, **IDF),
    st.builds(STAN, **SIZES, **SCALES),
    st.builds(VSTAN, **SIZES, **SCALES, match_scale=st.sampled_from([0.8, 2.9]), **IDF),
)


@settings(deadline=None)  # the first call may compile
@given(method=METHODS, train=pairs(), stream=pairs(max_size=12, min_size=1))
def test_ranks_agree_with_the_definition(method, train, stream):
    log = make_log(stream, times=list(range(len(train), len(train) + len(stream))))
    ranks = method.prequential_ranks(make_log(train), log, all_of(log), N_ITEMS)
    assert ranks.tolist() == ranks_by_definition(method, train, stream)
