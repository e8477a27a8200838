"""What holds for every baseline, whatever its method."""

from __future__ import annotations

import numpy as np
import pytest
from event_logs import N_ITEMS, all_of, make_log, pairs
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.evaluation.baselines import Covisitation, default_baselines

BASELINES = default_baselines()
NAMES = [
    name + variant
    for name in ("popularity", "covisitation", "vsknn", "stan", "vstan")
    for variant in ("", "_online")
]


def test_reports_know_the_baselines_by_these_names():
    assert [method.name for method in BASELINES] == NAMES


every_method = pytest.mark.parametrize("method", BASELINES, ids=NAMES)


@every_method
@settings(deadline=None)  # the first call may compile
@given(train=pairs(), past=pairs(), future=pairs(), other_future=pairs())
def test_later_events_do_not_change_earlier_ranks(method, train, past, future, other_future):
    def ranks_of_the_past(later):
        stream = make_log([*past, *later])
        ranks = method.prequential_ranks(make_log(train), stream, all_of(stream), N_ITEMS)
        return ranks[: len(past)].tolist()

    assert ranks_of_the_past(future) == ranks_of_the_past(other_future) == ranks_of_the_past([])


@every_method
@settings(deadline=None)  # the first call may compile
@given(train=pairs(), past=pairs(), user=st.integers(0, 3))
def test_an_event_is_ranked_before_it_is_learned_from(method, train, past, user):
    """The ranks of all the items that might come next are the places of one and the same order."""

    def rank_of_next(item):
        stream = make_log([*past, (user, item)])
        ranks = method.prequential_ranks(make_log(train), stream, all_of(stream), N_ITEMS)
        return int(ranks[-1])

    assert sorted(rank_of_next(item) for item in range(N_ITEMS)) == list(range(N_ITEMS))


@every_method
@settings(deadline=None)  # the first call may compile
@given(train=pairs(), stream=pairs(), data=st.data())
def test_events_that_are_not_scored_get_minus_one_and_change_no_other_rank(
    method, train, stream, data
):
    log = make_log(stream)
    flags = st.lists(st.booleans(), min_size=len(stream), max_size=len(stream))
    scored = np.array(data.draw(flags), dtype=np.bool_)
    ranks = method.prequential_ranks(make_log(train), log, scored, N_ITEMS)
    every = method.prequential_ranks(make_log(train), log, all_of(log), N_ITEMS)
    assert ranks.dtype == np.int32
    assert ranks.tolist() == np.where(scored, every, -1).tolist()


@every_method
def test_a_user_without_events_gets_the_popular_items(method):
    train = make_log([(0, 2), (1, 2), (2, 2), (0, 4), (1, 4), (2, 1)])
    for place, item in enumerate([2, 4, 1, 0, 3, 5]):
        stream = make_log([(3, item)])
        ranks = method.prequential_ranks(train, stream, all_of(stream), N_ITEMS)
        assert ranks.tolist() == [place]


@every_method
def test_an_empty_stream_gives_no_ranks(method):
    empty = make_log([])
    assert method.prequential_ranks(empty, empty, all_of(empty), N_ITEMS).tolist() == []


@pytest.mark.parametrize("index", range(len(NAMES)), ids=NAMES)
@settings(deadline=None)  # the first call may compile
@given(train=pairs(), stream=pairs())
def test_excluding_seen_items_never_worsens_a_rank(index, train, stream):
    log, kept, seen = (
        make_log(stream),
        BASELINES[index],
        default_baselines(exclude_seen=True)[index],
    )
    with_repeats = kept.prequential_ranks(make_log(train), log, all_of(log), N_ITEMS)
    without = seen.prequential_ranks(make_log(train), log, all_of(log), N_ITEMS)
    history = set(train)
    for event, rank, excluded_rank in zip(stream, with_repeats, without, strict=True):
        assert excluded_rank == -1 if event in history else 0 <= excluded_rank <= rank
        history.add(event)


def test_a_mask_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="scored"):
        Covisitation().prequential_ranks(
            make_log([]), make_log([(0, 1)]), np.zeros(3, dtype=np.bool_), N_ITEMS
        )
