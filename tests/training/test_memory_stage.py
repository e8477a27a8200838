"""Which events the mixer is fitted on, with what queries, and how long a trend lasts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import worker.training.memory_stage as stage_module
from worker.data import EventLog
from worker.item_memory.config import MemoryConfig
from worker.model.config import ModelConfig
from worker.model.meta_model import MetaRecommender
from worker.split import SCORED_EVENTS, occurrence
from worker.training.memory_stage import MemoryStage, memory_config, trend_half_life

ITEMS, USERS = 20, 30
CONFIG = ModelConfig(dim=4, rank=2, anchors=6, text_dim=5, memory=MemoryConfig(neighbours=4))


def stage(events: int = 900, seed: int = 0) -> MemoryStage:
    draw = np.random.default_rng(seed)
    users = draw.integers(0, USERS, events, np.int32)
    log = EventLog(
        users,
        draw.integers(0, ITEMS, events, np.int32),
        draw.integers(0, 3, events, np.int8),
        1000 * np.cumsum(draw.integers(1, 50, events)),
        [str(user) for user in range(USERS)],
    )
    torch.manual_seed(seed)
    model = MetaRecommender(CONFIG, ITEMS)
    vectors, anchors = torch.randn(ITEMS, CONFIG.dim), torch.randn(CONFIG.anchors, CONFIG.dim)
    return MemoryStage(model, log, users % 3 == 0, vectors, anchors, torch.device("cpu"))


def test_late_first_events_of_held_out_users_are_fitted_on():
    made = stage()
    wanted = made._wanted(np.random.default_rng(0))
    late = made.log.times >= np.quantile(made.log.times, 0.4)
    first = occurrence(made.log.users) < SCORED_EVENTS
    assert wanted.tolist() == (made.held_out & late & first).tolist()
    assert 0 < wanted.sum() < (made.held_out & late).sum()  # later events of a user are not


def test_no_more_cases_are_held_than_allowed_and_users_stay_whole(monkeypatch):
    made = stage()
    whole = made._wanted(np.random.default_rng(0))
    monkeypatch.setattr(stage_module, "_MOST_CASES", 60)
    some = made._wanted(np.random.default_rng(0))
    assert 30 < some.sum() <= 60 < whole.sum()
    kept = np.unique(made.log.users[some])
    assert some.tolist() == (whole & np.isin(made.log.users, kept)).tolist()
    other = made._wanted(np.random.default_rng(1))
    assert some.tolist() != other.tolist()


def test_where_only_early_events_are_held_out_they_are_fitted_on():
    made = stage()
    early = made.log.times < np.quantile(made.log.times, 0.2)
    made = MemoryStage(
        made.model, made.log, made.held_out & early, made.vectors, made.anchors, made.device
    )
    wanted = made._wanted(np.random.default_rng(0))
    assert wanted.any()
    assert not (wanted & ~early).any()


def test_queries_are_those_of_each_users_own_stream():
    made = stage()
    wanted = made._wanted(np.random.default_rng(0))
    queries = made._queries(wanted)
    log = made.log
    for i, event in enumerate(np.flatnonzero(wanted)):
        own = np.flatnonzero(log.users[: event + 1] == log.users[event])
        times = torch.from_numpy(log.times[own])
        gaps = torch.cat([torch.tensor([-1.0]), times.diff() / 1000])
        unrolled = made.model.unroll(
            made.vectors[log.items[own]][None],
            torch.from_numpy(log.types[own].astype(np.int64))[None],
            gaps[None],
            made.anchors,
        )
        torch.testing.assert_close(queries[i], unrolled[0, -1], atol=1e-5, rtol=1e-5)


def test_the_memory_knows_all_events_and_quality_is_of_users_the_mixer_was_not_fitted_on():
    made = stage()
    wanted = made._wanted(np.random.default_rng(4))
    users = np.unique(made.log.users[wanted])
    memory, quality = made.run(np.random.default_rng(4))
    assert memory.arrays.visits.values.sum() == pytest.approx(len(made.log))
    of_users = [int((made.log.users[wanted] == user).sum()) for user in users]
    held_out = round(0.2 * len(users))
    assert sum(sorted(of_users)[:held_out]) <= quality.n <= sum(sorted(of_users)[-held_out:])


def test_a_trends_half_life_is_the_time_of_the_latest_events(monkeypatch):
    times = 1000 * np.array([0, 10, 500, 900, 1000], np.int64)
    assert trend_half_life(times) == 1000.0
    monkeypatch.setattr(stage_module, "_TREND_EVENTS", 3)
    assert trend_half_life(times) == 500.0
    assert trend_half_life(times[:1]) == 60.0  # at least a minute
    log = stage().log
    config = memory_config(log, 17)
    assert config.neighbours == 17
    assert config.trend_half_life == trend_half_life(log.times)
