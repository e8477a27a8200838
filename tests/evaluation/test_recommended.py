"""Coverage, novelty and popularity bias of hand-made lists."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.evaluation.recommended import NOTHING, ItemPopularity, describe, gini
from worker.evaluation.top_lists import NO_ITEM

# 14 training events on five items, the last of them new. With one more for each: 19.
POPULARITY = ItemPopularity(np.array([8, 3, 2, 1, 0]))
LISTS = np.array([[0, 1, 2], [0, 4, NO_ITEM]], np.int32)


def test_coverage_is_the_share_of_the_catalogue_in_any_list():
    assert describe(LISTS, POPULARITY).coverage == 4 / 5
    assert describe(LISTS[:1], POPULARITY).coverage == 3 / 5


def test_novelty_is_the_mean_self_information():
    shares = np.array([9, 4, 3, 9, 1]) / 19
    assert describe(LISTS, POPULARITY).novelty == pytest.approx(-np.log2(shares).mean())


def test_a_new_item_is_the_most_novel_and_finite():
    assert POPULARITY.self_information.argmax() == 4
    assert POPULARITY.self_information[4] == pytest.approx(np.log2(19))


def test_popularity_is_the_mean_number_of_training_events():
    assert describe(LISTS, POPULARITY).popularity == (8 + 3 + 2 + 8 + 0) / 5


def test_the_tail_is_what_the_head_with_80_percent_of_the_events_leaves():
    # 80 % of 14 is 11.2: items 0 and 1 hold 11, so item 2 is needed too.
    assert POPULARITY.in_tail.tolist() == [False, False, False, True, True]
    assert describe(LISTS, POPULARITY).tail_share == 1 / 5


def test_a_catalogue_that_is_shown_evenly_has_a_gini_of_zero():
    assert gini(np.array([3, 3, 3])) == pytest.approx(0.0)
    assert describe(np.array([[0, 1, 2, 3, 4]]), POPULARITY).gini == pytest.approx(0.0)


def test_one_item_shown_to_everybody_has_the_highest_gini():
    assert gini(np.array([0, 9, 0, 0])) == pytest.approx(3 / 4)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20).filter(any))
def test_gini_is_half_the_mean_absolute_difference_over_the_mean(amounts):
    x = np.array(amounts)
    mean_difference = np.abs(x[:, None] - x[None, :]).mean()
    assert gini(x) == pytest.approx(mean_difference / (2 * x.mean()))


def test_no_lists_are_described_by_nothing():
    assert describe(np.empty((0, 20), np.int32), POPULARITY) == NOTHING
