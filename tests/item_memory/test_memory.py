"""The item memory against a brute-force one in plain Python, and what it promises of its calls."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from brute_force import BruteForce, Click, log_of
from hypothesis import given, settings
from hypothesis import strategies as st

import worker.item_memory.memory as memory_module
from worker.item_memory import kernels
from worker.item_memory.config import WINDOW, MemoryConfig
from worker.item_memory.memory import Candidates, ItemMemory, Occurrences
from worker.item_memory.occurrences import occurrences

REFRESH, SEGMENT = 7, 5
ITEMS, USERS = 9, 4

few_examples = settings(max_examples=25, deadline=None)


@pytest.fixture(autouse=True, scope="module")
def _small_steps() -> Iterator[None]:
    """Let what happens every few hundred events happen in small examples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_module, "_REFRESH", REFRESH)
        patch.setattr(memory_module, "_SEGMENT", SEGMENT)
        yield


def config(**changes: object) -> MemoryConfig:
    kept = {"neighbours": 32, "recent": 4, "trending": 3, "trend_half_life": 50.0}
    return MemoryConfig(**{**kept, **changes})


@st.composite
def streams(draw: st.DrawFn, most: int = 45) -> list[Click]:
    """Clicks whose times differ, so that no two trends are equal."""
    clicks, time = [], 1_700_000_000_000
    length = draw(st.integers(1, most))
    for _ in range(length):
        time += 1000 * draw(st.integers(1, 60)) + draw(st.integers(0, 999))
        clicks.append((draw(st.integers(0, USERS - 1)), draw(st.integers(0, ITEMS - 1)), time))
    return clicks


def drawn_stream(seed: int, length: int, items: int = ITEMS, users: int = USERS) -> list[Click]:
    draw = np.random.default_rng(seed)
    times = 1_700_000_000_000 + 1000 * np.cumsum(draw.integers(1, 90, length))
    return [
        (int(draw.integers(users)), int(draw.integers(items)), int(time)) for time in times.tolist()
    ]


def of(clicks: list[Click], memory: ItemMemory, *, wanted: bool = True) -> Occurrences:
    return occurrences(log_of(clicks), np.full(len(clicks), wanted), memory.config.recent)


def named(n: int, width: int = 2) -> np.ndarray:
    """Rows named by the caller, other ones for each event, −1 at the end of some."""
    rows = (np.arange(n)[:, None] * 2 + np.arange(width)) % ITEMS
    rows[::3, 1:] = -1
    return rows.astype(np.int32)


def answer(found: Candidates, i: int) -> dict[int, tuple[np.ndarray, int, int]]:
    part = slice(found.pointers[i], found.pointers[i + 1])
    rows = found.rows[part].tolist()
    assert len(set(rows)) == len(rows)
    return {
        row: (found.features[p], int(found.recency[p]), int(found.link[p]))
        for row, p in zip(rows, range(part.start, part.stop), strict=True)
    }


def check(found: Candidates, i: int, expected: tuple[dict, list[float]]) -> None:
    answers, context = expected
    given_back = answer(found, i)
    assert given_back.keys() == answers.keys()
    for row, (features, recency, link) in answers.items():
        assert given_back[row][1:] == (recency, link)
        for name, value, wanted in zip(
            kernels.FEATURES, given_back[row][0].tolist(), features, strict=True
        ):
            assert value == pytest.approx(wanted, rel=1e-4, abs=1e-5), (row, name)
    assert found.context[i].tolist() == pytest.approx(context, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("half_life", [None, 40.0])
@few_examples
@given(clicks=streams())
def test_candidates_are_those_of_the_brute_force_memory(half_life, clicks):
    memory = ItemMemory(config(half_life=half_life))
    truth = BruteForce(memory.config, REFRESH)
    dense = named(len(clicks))
    found = memory.learn_and_collect(of(clicks, memory), dense, collect_first=True)
    assert len(found.context) == len(clicks)
    for i, click in enumerate(clicks):
        check(found, i, truth.collect(click[0], dense[i][dense[i] >= 0].tolist()))
        truth.learn(click)
        truth.refresh_if_due()
    assert memory.trending.tolist() == truth.trending


@pytest.mark.parametrize("seed", range(4))
def test_full_rows_give_up_what_has_faded_most(seed):
    # The pauses tell all weights apart: which neighbour is the weakest is no matter of rounding.
    memory = ItemMemory(config(neighbours=3, half_life=40.0, recent=2))
    truth = BruteForce(memory.config, REFRESH)
    clicks = drawn_stream(seed, 60)
    found = memory.learn_and_collect(of(clicks, memory), nothing(60), collect_first=True)
    for i, click in enumerate(clicks):
        check(found, i, truth.collect(click[0], []))
        truth.learn(click)
        truth.refresh_if_due()
    for name in ("followers", "predecessors"):
        side, expected = getattr(memory.arrays, name), getattr(truth, name)
        for row in range(ITEMS):
            kept = side.items[row, : side.size[row]].tolist()
            assert kept == [neighbour.item for neighbour in expected[row]]
    assert (memory.arrays.followers.size == 3).any()


def nothing(n: int) -> np.ndarray:
    return np.full((n, 1), -1, np.int32)


def learn_pairs(memory: ItemMemory, pairs: list[tuple[int, int]], time: int = 0) -> None:
    """Teach that users went from one item to another."""
    before = np.full((len(pairs), WINDOW), -1, np.int32)
    before[:, 0] = [source for source, _ in pairs]
    memory.learn(
        np.array([item for _, item in pairs], np.int32),
        before,
        np.zeros(len(pairs), np.int64),
        np.full(len(pairs), time, np.int64),
    )


def neighbours(side: kernels.Neighbours, row: int) -> dict[int, float]:
    size = int(side.size[row])
    return dict(
        zip(side.items[row, :size].tolist(), side.weights[row, :size].tolist(), strict=True)
    )


def test_a_new_neighbour_takes_the_place_of_the_weakest_and_the_sum_keeps_all():
    memory = ItemMemory(config(neighbours=3))
    learn_pairs(memory, [(0, 3), (0, 1), (0, 1), (0, 2), (0, 1), (0, 2)])
    assert neighbours(memory.arrays.followers, 0) == {1: 3.0, 2: 2.0, 3: 1.0}
    learn_pairs(memory, [(0, 4), (0, 5), (0, 5)])
    assert neighbours(memory.arrays.followers, 0) == {1: 3.0, 2: 2.0, 5: 2.0}
    assert memory.arrays.followers_total.values[0] == 9.0
    # The other side of the pair has rows of its own: 3 and 4 still know whom they came after.
    assert neighbours(memory.arrays.predecessors, 3) == {0: 1.0}


def test_weights_count_half_after_the_half_life_and_trends_after_theirs():
    memory = ItemMemory(config(half_life=100.0, trend_half_life=50.0))
    learn_pairs(memory, [(0, 1)], time=1_000_000)
    learn_pairs(memory, [(0, 1)], time=1_100_000)
    assert neighbours(memory.arrays.followers, 0) == pytest.approx({1: 1.5})
    assert memory.arrays.followers_total.values[0] == pytest.approx(1.5)
    assert memory.arrays.visits.values[1] == pytest.approx(1.5)
    assert memory.arrays.trend.values[1] == pytest.approx(1.25)


def test_without_a_half_life_nothing_is_forgotten():
    memory = ItemMemory(config(half_life=None))
    learn_pairs(memory, [(0, 1)], time=0)
    learn_pairs(memory, [(0, 1)], time=10**13)
    assert neighbours(memory.arrays.followers, 0) == {1: 2.0}
    assert memory.arrays.visits.values[1] == 2.0


@pytest.mark.parametrize("half_life", [None, 40.0])
@few_examples
@given(clicks=streams(), seed=st.integers(0, 2**31))
def test_the_order_of_learning_does_not_matter_while_nothing_is_evicted(half_life, clicks, seed):
    forth, back = (ItemMemory(config(half_life=half_life), ITEMS) for _ in range(2))
    events = of(clicks, forth)
    order = np.random.default_rng(seed).permutation(len(clicks))
    types = np.zeros(len(clicks), np.int64)
    forth.learn(events.items, events.before, types, events.times)
    back.learn(events.items[order], events.before[order], types, events.times[order])
    for row in range(ITEMS):
        for name in ("followers", "predecessors"):
            one, other = (neighbours(getattr(m.arrays, name), row) for m in (forth, back))
            assert one == pytest.approx(other, rel=1e-5)
    for name in ("followers_total", "visits", "trend"):
        one, other = (getattr(m.arrays, name) for m in (forth, back))
        np.testing.assert_allclose(one.values, other.values, rtol=1e-5)
        np.testing.assert_array_equal(one.times, other.times)
    for memory in (forth, back):
        memory.refresh()
    assert forth.trending.tolist() == back.trending.tolist()


def same_candidates(left: Candidates, right: Candidates) -> None:
    for name in Candidates.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)


def same_contents(left: ItemMemory, right: ItemMemory) -> None:
    """Compare all that is known, whatever room there is for more."""
    for one, other in zip(left.arrays, right.arrays, strict=True):
        for a, b in zip(one, other, strict=True):
            rows = min(len(a), len(b))
            np.testing.assert_array_equal(a[:rows], b[:rows])
            assert not a[rows:].any()
            assert not b[rows:].any()


@pytest.mark.parametrize("collect_first", [False, True])
@few_examples
@given(clicks=streams(), data=st.data())
def test_cutting_the_stream_into_calls_anywhere_changes_nothing(collect_first, clicks, data):
    whole, cut = ItemMemory(config(neighbours=2)), ItemMemory(config(neighbours=2))
    n = len(clicks)
    dense = named(n)
    wanted = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    learns = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    log = log_of(clicks)
    events = occurrences(log, wanted, whole.config.recent)
    events = Occurrences(
        events.items, events.before, events.times, learns, events.recent, events.wanted
    )
    together = whole.learn_and_collect(events, dense, collect_first=collect_first)
    bounds = sorted({0, n, *data.draw(st.lists(st.integers(0, n), max_size=6))})
    parts = [
        cut.learn_and_collect(events.part(slice(*ends)), dense[slice(*ends)],
                              collect_first=collect_first)
        for ends in pairwise(bounds)
    ]  # fmt: skip
    same_candidates(together, memory_module._joined(parts, n))
    same_contents(whole, cut)
    assert whole.trending.tolist() == cut.trending.tolist()
    assert not np.diff(together.pointers)[~wanted].any()


@few_examples
@given(clicks=streams(), data=st.data())
def test_with_collect_first_nobody_sees_their_own_event_or_a_later_one(clicks, data):
    first = data.draw(st.integers(0, len(clicks) - 1))
    changed = [
        (user, (item + 1 + n) % ITEMS if n >= first else item, time + 5000 * (n >= first))
        for n, (user, item, time) in enumerate(clicks)
    ]
    found = []
    for stream in (clicks, changed):
        memory = ItemMemory(config(), ITEMS)
        events, dense = of(stream, memory), named(len(stream))
        found.append(memory.learn_and_collect(events, dense, collect_first=True))
    upto = found[0].pointers[first + 1]
    np.testing.assert_array_equal(found[0].pointers[: first + 2], found[1].pointers[: first + 2])
    for name in ("rows", "features", "recency", "link"):
        one, other = (getattr(f, name)[:upto] for f in found)
        np.testing.assert_array_equal(one, other, err_msg=name)
    np.testing.assert_array_equal(*(f.context[: first + 1] for f in found))


def test_an_answer_to_an_event_knows_the_event():
    memory = ItemMemory(config())
    events = of([(0, 3, 1000), (0, 5, 2000)], memory)
    answers = Occurrences(
        events.items, events.before, events.times, events.learns,
        np.array([[3, -1], [5, 3]], np.int32), events.wanted,
    )  # fmt: skip
    found = memory.learn_and_collect(answers, nothing(2))
    count, links = kernels.FEATURES.index("count"), kernels.FEATURES.index("links")
    assert answer(found, 0)[3][0][count] == pytest.approx(np.log(2))
    assert answer(found, 1)[5][0][links] == 1  # 5 has followed 3 just now


def test_rows_grow_and_nothing_is_lost():
    clicks = drawn_stream(7, 50)
    small, large = ItemMemory(config()), ItemMemory(config(), 400)
    for memory in (small, large):
        memory.learn_and_collect(of(clicks, memory), named(50))
    assert small.rows < large.rows == 400
    small.reserve(300)
    assert small.rows >= 300
    same_contents(small, large)
    # What the growth may not disturb: candidates are told apart by a scratch array by row.
    more = of([(0, 250, clicks[-1][2] + 1000), (0, 251, clicks[-1][2] + 2000)], small)
    found = [memory.learn_and_collect(more, nothing(2)) for memory in (small, large)]
    same_candidates(*found)


def test_trending_are_the_items_of_the_highest_trend_whatever_their_count():
    memory = ItemMemory(config(trending=2, trend_half_life=10.0))
    learn_pairs(memory, [(8, 1)] * 20, time=0)
    learn_pairs(memory, [(8, 2)] * 2, time=100_000)
    learn_pairs(memory, [(8, 3)], time=100_000)
    revision = memory.revision
    memory.refresh()
    assert memory.trending.tolist() == [2, 3]
    assert memory.revision == revision + 1


def test_no_items_trend_if_none_are_asked_for():
    memory = ItemMemory(config(trending=0))
    learn_pairs(memory, [(0, 1)] * 20)
    found = memory.learn_and_collect(of([(0, 1, 1000)], memory), nothing(1))
    assert memory.trending.tolist() == []
    assert len(found.rows) == 0


def test_a_forgotten_item_knows_nothing_and_does_not_trend():
    memory = ItemMemory(config())
    learn_pairs(memory, [(0, 1), (1, 2), (0, 1)])
    memory.forget_row(1)
    memory.forget_row(10_000)  # a row that it never had
    assert neighbours(memory.arrays.followers, 1) == {}
    assert neighbours(memory.arrays.predecessors, 1) == {}
    assert neighbours(memory.arrays.followers, 0) == {1: 2.0}
    memory.refresh()
    assert memory.trending.tolist() == [2]
    learn_pairs(memory, [(1, 3)])
    assert neighbours(memory.arrays.followers, 1) == {3: 1.0}


def test_no_events_are_no_trouble():
    memory = ItemMemory(config())
    empty = of([(0, 1, 1000)], memory).part(slice(0, 0))
    found = memory.learn_and_collect(empty, nothing(0))
    assert found.pointers.tolist() == [0]
    assert found.rows.shape == (0,)
    assert found.context.shape == (0, len(kernels.CONTEXT))
    memory.learn(empty.items, empty.before, np.zeros(0, np.int64), empty.times)
    assert memory.rows == 0
