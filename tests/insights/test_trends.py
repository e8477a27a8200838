"""Decayed counts are what their formula says, in any order, and bounded."""

import random

import pytest

from worker.insights.trends import (
    Decay,
    DecayedCounts,
    decode_counts,
    encode_counts,
    leading,
    merged,
)

HALF_LIFE_MS = 3_600_000


def events(seed: int, number: int, items: int, span_ms: int = 50 * HALF_LIFE_MS):
    rng = random.Random(seed)
    return [
        (f"i{min(rng.randrange(items), rng.randrange(items))}", rng.randrange(span_ms))
        for _ in range(number)
    ]


def counted(decay: Decay, listed, first: int = 0) -> DecayedCounts:
    counts = DecayedCounts()
    for offset, (item, time_ms) in enumerate(listed, start=first):
        assert decay.add(counts, item, time_ms, offset)
    return counts


def exact(listed, now: int) -> dict[str, float]:
    totals: dict[str, float] = {}
    for item, time_ms in listed:
        totals[item] = totals.get(item, 0.0) + 0.5 ** ((now - time_ms) / HALF_LIFE_MS)
    return totals


def test_counts_are_what_the_formula_says_in_whatever_order():
    decay = Decay(HALF_LIFE_MS, 1000)
    listed = events(1, 4000, 100)
    now = max(time for _, time in listed)
    for order in (listed, sorted(listed, key=lambda e: e[1]), listed[::-1]):
        assert decay.at(counted(decay, order), now) == pytest.approx(exact(listed, now), rel=1e-9)


def test_a_year_does_not_overflow():
    decay = Decay(HALF_LIFE_MS, 1000)
    listed = [("old", 0), ("new", 366 * 86_400_000), ("new", 366 * 86_400_000)]
    counts = counted(decay, listed)
    assert decay.at(counts, 366 * 86_400_000) == {"new": 2.0}


def test_events_that_were_counted_are_not_counted_again():
    decay = Decay(HALF_LIFE_MS, 1000)
    listed = events(2, 500, 30)
    counts = counted(decay, listed)
    stored = encode_counts(counts)
    again = decode_counts(stored)
    for offset in range(200, 500):
        assert not decay.add(again, *listed[offset], offset)
    assert encode_counts(again) == stored


def test_partitions_add_up():
    decay = Decay(HALF_LIFE_MS, 1000)
    listed = events(3, 3000, 50)
    now = max(time for _, time in listed)
    latest, total, missing = merged(decay, [counted(decay, listed[n::4]) for n in range(4)])
    assert (latest, missing) == (now, 0)
    assert total == pytest.approx(exact(listed, now), rel=1e-9)


def test_memory_is_bounded_and_so_is_what_it_costs():
    decay = Decay(HALF_LIFE_MS, 40)
    listed = sorted(events(4, 20_000, 2000), key=lambda e: e[1])
    now = listed[-1][1]
    counts, most = DecayedCounts(), 0
    for offset, event in enumerate(listed):
        decay.add(counts, *event, offset)
        most = max(most, len(counts.counts))
    true, kept = exact(listed, now), decay.at(counts, now)
    bound = decay.lost_at(counts, now)
    assert most <= 80
    assert bound > 0
    for item, count in true.items():
        low = kept.get(item, 0.0)
        assert low - 1e-9 <= count <= low + bound + 1e-9


def test_leading_items_come_highest_first_and_equal_ones_by_id():
    assert leading({"b": 1.0, "a": 1.0, "c": 3.0, "d": 0.5}, 3) == [("c", 3), ("a", 1), ("b", 1)]
