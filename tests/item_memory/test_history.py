"""Users' previous items, and a log as the memory takes it."""

from __future__ import annotations

import numpy as np
from brute_force import log_of
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.item_memory.config import WINDOW
from worker.item_memory.history import previous_items
from worker.item_memory.occurrences import LogOccurrences, occurrences

pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6)), max_size=25)


@settings(deadline=None)
@given(pairs, st.integers(1, 7))
def test_previous_items_are_the_users_own_newest_first(clicks, count):
    users, items = np.array(clicks, np.int32).reshape(-1, 2).T
    found = previous_items(users, items, count)
    assert found.shape == (len(clicks), count)
    assert found.dtype == np.int32
    for i, (user, _) in enumerate(clicks):
        own = [item for other, item in clicks[:i] if other == user][::-1][:count]
        assert found[i].tolist() == own + [-1] * (count - len(own))


def test_a_log_is_learned_whole_and_looks_back_as_far_as_each_side_wants():
    clicks = [(n % 2, n, 1000 * n) for n in range(20)]
    wanted = np.arange(20) % 3 == 0
    for recent in (2, WINDOW + 3):
        events = occurrences(log_of(clicks), wanted, recent)
        assert events.learns.all()
        assert events.wanted.tolist() == wanted.tolist()
        assert events.times.tolist() == [1000 * n for n in range(20)]
        assert events.before.shape == (20, WINDOW)
        assert events.recent.shape == (20, recent)
        assert events.before[19].tolist() == [17, 15, 13, 11, 9]
        assert events.recent[19].tolist() == [17, 15, 13, 11, 9, 7, 5, 3][:recent]
        part = events.part(slice(4, 9))
        assert part.items.tolist() == [4, 5, 6, 7, 8]
        assert part.before[-1].tolist() == [6, 4, 2, 0, -1]


@settings(deadline=None)
@given(pairs.filter(len), st.integers(1, 7), st.integers(0, 30), st.integers(0, 30))
def test_a_part_of_a_log_is_that_part_of_the_whole(clicks, recent, skip, start):
    log = log_of([(*click, 1000 * n) for n, click in enumerate(clicks)])
    wanted = np.arange(len(clicks)) % 3 == 0
    whole = occurrences(log, wanted, recent).part(slice(skip, None))
    events = LogOccurrences(log, wanted, recent, skip=skip)
    assert events.items.tolist() == whole.items.tolist()
    other = events.wanting(~whole.wanted)
    for rows in (slice(start, start + 4), slice(None)):
        part, expected = events.part(rows), whole.part(rows)
        for name in ("items", "before", "times", "learns", "recent", "wanted"):
            mine, theirs = getattr(part, name), getattr(expected, name)
            assert mine.dtype == theirs.dtype
            assert mine.tolist() == theirs.tolist(), name
        assert other.part(rows).wanted.tolist() == (~expected.wanted).tolist()
