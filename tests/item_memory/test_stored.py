"""Writing an item memory down and laying it out anew."""

from __future__ import annotations

import numpy as np
import pytest
from brute_force import log_of

from worker.item_memory.config import MemoryConfig
from worker.item_memory.memory import ItemMemory, Occurrences
from worker.item_memory.occurrences import occurrences
from worker.item_memory.stored import from_arrays, known_rows, to_arrays

ITEMS = 30
CONFIG = MemoryConfig(neighbours=4, recent=3, trending=5, trend_half_life=500.0, half_life=900.0)


def stream(seed: int, length: int, start: int = 0) -> Occurrences:
    """Events of a few users on every other item: the odd rows are never met."""
    draw = np.random.default_rng(seed)
    times = start + np.cumsum(draw.integers(1000, 60_000, length))
    clicks = [
        (int(draw.integers(5)), 2 * int(draw.integers(ITEMS // 2)), int(time)) for time in times
    ]
    return occurrences(log_of(clicks), np.ones(length, np.bool_), CONFIG.recent)


def nothing(n: int) -> np.ndarray:
    return np.full((n, 1), -1, np.int32)


@pytest.fixture
def memory() -> ItemMemory:
    memory = ItemMemory(CONFIG, ITEMS)
    memory.learn_and_collect(stream(1, 120), nothing(120))
    memory.refresh()
    return memory


def moved(events: Occurrences, to: np.ndarray) -> Occurrences:
    def rows(column: np.ndarray) -> np.ndarray:
        return np.where(column < 0, -1, to[column]).astype(np.int32)

    return Occurrences(
        rows(events.items), rows(events.before), events.times, events.learns,
        rows(events.recent), events.wanted,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_a_stored_memory_goes_on_under_other_rows_as_if_nothing_had_happened(memory, seed):
    rows = known_rows(memory)
    assert 0 < len(rows) < ITEMS
    to = np.random.default_rng(seed).permutation(3 * ITEMS)[:ITEMS]
    again = from_arrays(CONFIG, to_arrays(memory, rows), to[rows])
    assert again.trending.tolist() == to[memory.trending].tolist()
    later = stream(seed + 10, 40, start=120 * 60_000)
    one = memory.learn_and_collect(later, nothing(40))
    other = again.learn_and_collect(moved(later, to), nothing(40))
    np.testing.assert_array_equal(one.pointers, other.pointers)
    np.testing.assert_array_equal(to[one.rows], other.rows)
    np.testing.assert_array_equal(one.features, other.features)
    np.testing.assert_array_equal(one.recency, other.recency)
    np.testing.assert_array_equal(one.link, other.link)
    np.testing.assert_array_equal(one.context, other.context)


def test_an_empty_memory_is_stored_as_one():
    empty = ItemMemory(CONFIG, 10)
    again = from_arrays(CONFIG, to_arrays(empty, known_rows(empty)), np.empty(0, np.int64))
    found = again.learn_and_collect(stream(1, 5), nothing(5))
    assert len(found.context) == 5


BROKEN = {
    "followers.size": lambda array: array[:-1],
    "predecessors.size": lambda array: array + 10,
    "followers.items": lambda array: array + 1000,
    "predecessors.items": lambda array: array[:-1],
    "followers.weights": lambda array: array[:-1],
    "predecessors.times": lambda array: array[:-1],
    "visits.values": lambda array: array[:1],
    "trend.times": lambda array: array[:-1],
}


@pytest.mark.parametrize("name", BROKEN)
def test_arrays_that_do_not_fit_are_refused_by_name(memory, name):
    rows = known_rows(memory)
    arrays = to_arrays(memory, rows)
    arrays[name] = BROKEN[name](arrays[name])
    with pytest.raises(ValueError, match=name.split(".")[0]):
        from_arrays(CONFIG, arrays, rows)


def test_items_before_the_first_row_are_refused(memory):
    rows = known_rows(memory)
    arrays = to_arrays(memory, rows)
    arrays["followers.items"] = arrays["followers.items"].copy()
    arrays["followers.items"][3] = -1
    with pytest.raises(ValueError, match="followers"):
        from_arrays(CONFIG, arrays, rows)


@pytest.mark.parametrize("name", ["followers.items", "trend.values"])
def test_a_missing_array_is_named(memory, name):
    rows = known_rows(memory)
    arrays = to_arrays(memory, rows)
    del arrays[name]
    with pytest.raises(KeyError, match=name):
        from_arrays(CONFIG, arrays, rows)


def test_fewer_rows_than_stored_are_refused(memory):
    rows = known_rows(memory)
    with pytest.raises(ValueError, match="rows"):
        from_arrays(CONFIG, to_arrays(memory, rows), rows[:-1])
