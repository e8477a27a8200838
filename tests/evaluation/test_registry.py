"""The rivals by name, and how they come to their settings."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from event_logs import make_log

from worker.evaluation.baselines import RIVALS, Popularity, tuned

DAY_MS = 24 * 3600 * 1000

FAST = [name for name, rival in RIVALS.items() if rival.group == "fast"]
every_fast_rival = pytest.mark.parametrize("name", FAST)


def candidates(name, **options):
    return RIVALS[name].candidates(**{"exclude_seen": False, "seed": 0, "device": "cpu"} | options)


@every_fast_rival
def test_every_candidate_has_the_rivals_name_and_settings_of_its_own(name):
    methods = candidates(name)
    assert {method.name for method in methods} == {name}
    settings = [tuple(method.settings.items()) for method in methods]
    assert len(set(settings)) == len(settings) > 1


@every_fast_rival
def test_seen_items_are_left_out_by_all_candidates_or_none(name):
    assert all(method.exclude_seen for method in candidates(name, exclude_seen=True))
    assert not any(method.exclude_seen for method in candidates(name))


def test_a_rival_is_found_by_its_name():
    assert all(name == rival.name for name, rival in RIVALS.items())


def one_buyer_a_day(favourites_by_day, n_days=400):
    """Half of the buyers buy one of the day's 20 favourites, the others any of 100 items."""
    rng = np.random.default_rng(7)
    items = [
        int(rng.choice(favourites_by_day(day)) if rng.random() < 0.5 else rng.integers(100))
        for day in range(n_days)
    ]
    return make_log(list(enumerate(items)), [day * DAY_MS for day in range(n_days)])


def chosen_half_life(log):
    method, _ = tuned(RIVALS["popularity"], log, 100)
    assert isinstance(method, Popularity)
    return method.half_life_ms


def test_steady_tastes_choose_a_long_memory():
    assert chosen_half_life(one_buyer_a_day(lambda day: range(20))) >= 90 * DAY_MS


def test_a_change_of_taste_chooses_a_short_memory():
    log = one_buyer_a_day(lambda day: range(20) if day < 240 else range(50, 70))
    assert chosen_half_life(log) <= 30 * DAY_MS


def test_without_a_validation_slice_the_default_settings_are_kept():
    method, record = tuned(RIVALS["popularity"], make_log([(0, 1), (0, 2)]), 4)
    assert isinstance(method, Popularity)
    assert method.half_life_ms == math.inf
    assert record.trials == []


def test_the_record_tells_every_candidate_and_what_it_cost():
    log = one_buyer_a_day(lambda day: range(20))
    steps = []
    method, record = tuned(
        RIVALS["vstan_online"], log, 100, on_trial=lambda *step: steps.append(step)
    )
    tried = [trial.settings for trial in record.trials]
    assert tried == [candidate.settings for candidate in candidates("vstan_online")]
    best = max(record.trials, key=lambda trial: trial.criterion)
    assert method.settings == best.settings
    assert record.seconds >= sum(trial.seconds for trial in record.trials) > 0
    assert steps[-1] == (len(tried), len(tried))
    assert msgspec.json.decode(msgspec.json.encode(record), type=type(record)) == record
