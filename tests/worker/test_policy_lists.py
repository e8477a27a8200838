"""Caps, diversity, exploration and reasons in the lists that a worker publishes."""

from __future__ import annotations

from collections import Counter

import msgspec
import numpy as np
import pytest
import torch
from fake_model import FakeModel
from test_memory_bundle import clicks, model, worker_of
from test_pipeline import same_lists, streams
from test_policy_filters import NO_HOME, SHOES, batch_policy, labelled, permitted, surfaces_of
from worker_parts import Worker, event, item

from schemas.clickstream import EventType
from schemas.recommendations import ReasonEvent, ReasonKind
from schemas.settings import PolicySettings, Restriction, ScoreRule, Settings, WorkerSettings
from worker.catalogue import Catalogue, ItemChange
from worker.policy.policy import Policy
from worker.rollout.loading import LoadedModel
from worker.rollout.rehearsal import rehearse
from worker.rows import NO_ITEM
from worker.stages.rank import MemoryStep, rank

__all__ = ["model"]

BRANDS = ["acme"] * 6 + ["bolt"] * 2 + ["cord", "dyne", None]


def branded(number: int):
    brand = BRANDS[number % len(BRANDS)]
    return labelled(number).__class__(
        item_id=f"i{number}", title=f"thing number {number}", brand=brand,
        categories=labelled(number).categories,
    )  # fmt: skip


def capped(ranking: list[int], cap: int, k: int) -> list[int]:
    counts: Counter[str] = Counter()
    listed: list[int] = []
    for row in ranking:
        brand = BRANDS[row % len(BRANDS)]
        if brand is None or counts[brand] < cap:
            listed.append(row)
            counts[brand or ""] += 1
    return (listed + [NO_ITEM] * k)[:k]


@pytest.mark.parametrize("way", ["index", "matrix"])
@pytest.mark.parametrize("with_memory", [False, True])
@pytest.mark.parametrize(("cap", "candidates"), [(1, 1), (1, 100), (2, 1), (3, 8)])
def test_capped_lists_are_the_best_there_are(
    request, monkeypatch, way, with_memory, cap, candidates
):
    draw, k, n, items = np.random.default_rng(4), 5, 24, 30
    if with_memory:
        worker = worker_of(request.getfixturevalue("model"))
        worker.process(clicks())
        catalogue, ranker = worker.catalogue, worker.model
        memory = MemoryStep(worker.item_learning.learner)
    else:
        catalogue, ranker, memory, items = Catalogue(FakeModel()), FakeModel(), None, 200
    catalogue.apply([ItemChange(f"i{i}", branded(i)) for i in range(items)])
    queries = torch.randn(n, ranker.dim, generator=torch.Generator().manual_seed(2))
    recent = draw.integers(-1, items, (n, 5))
    whole = rank(queries, recent, catalogue, ranker, items, memory=memory)
    if way == "matrix":
        monkeypatch.setattr(Catalogue, "index", None)
    surfaces = surfaces_of(n)
    settings = PolicySettings(
        brand_cap=cap, candidates=candidates, restrictions=(SHOES, NO_HOME), leave_out="seen"
    )
    wanted = batch_policy(
        Policy.of(settings, catalogue, k), recent, np.zeros((n, 5), np.uint8), surfaces
    )
    found = rank(queries, recent, catalogue, ranker, k, memory=memory, policy=wanted)
    expected = [
        capped([row for row in rows if row >= 0 and permitted(s, row) and row not in seen], cap, k)
        for rows, s, seen in zip(whole.rows.tolist(), surfaces, recent.tolist(), strict=True)
    ]
    assert found.rows.tolist() == expected
    plain = [[r for r in rows if permitted(s, r)][:k]
             for rows, s in zip(whole.rows.tolist(), surfaces, strict=True)]  # fmt: skip
    assert sum(a != b for a, b in zip(expected, plain, strict=True)) > n / 8
    assert found.propensities is None


def test_where_one_brand_is_all_there_is_the_rest_comes_from_far_below():
    worker = Worker(policy=PolicySettings(brand_cap=2, candidates=5), items=0)
    brands = {n: "rare" if n >= 2990 else "huge" for n in range(3000)}
    worker.catalogue.apply(
        [ItemChange(f"i{n}", item(n, brand=brand)) for n, brand in brands.items()]
    )
    worker.process([event("u", n, f"i{n}") for n in range(6)])
    for answer in worker.journal.recommendations():
        counts = Counter(brands[int(i.item_id[1:])] for i in answer.items)
        assert counts == {"huge": 2, "rare": 2}


EXPLORING = {
    "epsilon": PolicySettings(exploration="epsilon", epsilon=0.3, candidates=12),
    "posterior": PolicySettings(exploration="posterior", epsilon=0.05, candidates=12),
    "everything": PolicySettings(
        exploration="posterior", diversity=0.3, brand_cap=1, leave_out="purchased", candidates=12,
        rules=(ScoreRule(brand="acme", add=0.2),), reason_types=True,
    ),
}  # fmt: skip


def run(policy: PolicySettings, events, batch: int) -> list:
    worker = Worker(policy=policy, settings=WorkerSettings(top_k=5, recent_events=8))
    worker.catalogue.apply([ItemChange(f"i{n}", branded(n)) for n in range(30)])
    for start in range(0, len(events), batch):
        worker.process(events[start : start + batch], first_offset=start)
    return worker.journal.recommendations()


@pytest.mark.parametrize("name", [*EXPLORING, "diversity"])
@pytest.mark.parametrize("batch", [7, 1000])
def test_batches_and_replays_give_what_one_event_at_a_time_gives(name, batch):
    policy = EXPLORING.get(name, PolicySettings(diversity=0.4))
    events = streams(users=12, seed=9)
    single, batched = run(policy, events, 1), run(policy, events, batch)
    same_lists(single, batched)
    for a, b in zip(single, batched, strict=True):
        for one, other in zip(a.items, b.items, strict=True):
            if name == "diversity":
                assert one.propensity is None
            else:
                assert one.propensity == pytest.approx(other.propensity, rel=1e-2)
    assert run(policy, events, batch) == batched


@pytest.mark.parametrize("name", EXPLORING)
def test_either_way_of_ranking_gives_the_same_lists(monkeypatch, name):
    events = streams(users=12, seed=10)
    by_index = run(EXPLORING[name], events, 16)
    monkeypatch.setattr(Catalogue, "index", None)
    by_matrix = run(EXPLORING[name], events, 16)
    same_lists(by_index, by_matrix)
    for a, b in zip(by_index, by_matrix, strict=True):
        ours, theirs = ([i.propensity for i in r.items] for r in (a, b))
        np.testing.assert_allclose(ours, theirs, rtol=1e-2)


def test_some_items_are_tried_and_as_often_as_published():
    events = [event(f"u{n}", 0, "i3") for n in range(3000)]
    answers = run(EXPLORING["epsilon"], events, 500)
    usual = [i.item_id for i in run(PolicySettings(), events[:1], 1)[0].items]
    first = Counter(answer.items[0].item_id for answer in answers)
    assert len(first) == 12
    by_id = {answer.items[0].item_id: answer.items[0].propensity for answer in answers}
    assert by_id[usual[0]] == pytest.approx(0.7 + 0.3 / 12, abs=1e-9)
    for item_id, count in first.items():
        expected = 3000 * by_id[item_id]
        assert abs(count - expected) < 4.5 * expected**0.5
    assert all(len({i.item_id for i in answer.items}) == 5 for answer in answers)
    # For the same user, the event decides.
    repeated = run(EXPLORING["epsilon"], [event("u", n, "i3") for n in range(60)], 60)
    assert len({answer.items[0].item_id for answer in repeated}) > 3


def test_places_before_the_first_to_be_explored_are_the_usual_ones():
    policy = EXPLORING["epsilon"].model_copy(update={"explore_from": 3, "epsilon": 1.0})
    events = [event(f"u{n}", 0, "i3") for n in range(50)]
    usual = [i.item_id for i in run(PolicySettings(), events[:1], 1)[0].items]
    answers = run(policy, events, 50)
    for answer in answers:
        assert [i.item_id for i in answer.items[:2]] == usual[:2]
        assert [i.propensity for i in answer.items[:2]] == [1.0, 1.0]
        expected = [1 / 10, 1 / 9, 1 / 8]
        assert [i.propensity for i in answer.items[2:]] == pytest.approx(expected, abs=1e-9)
    assert len({answer.items[2].item_id for answer in answers}) > 5


def test_without_exploration_and_types_messages_are_what_they_were():
    events = streams(users=5)
    worker, capped_one = Worker(), Worker(policy=PolicySettings(brand_cap=1))
    for each in (worker, capped_one):
        each.process(events)
    assert worker.journal.values("recommendations") == capped_one.journal.values("recommendations")
    (value,) = {b"propensity" in v or b"event_type" in v
                for v in worker.journal.values("recommendations")}  # fmt: skip
    assert value is False


def test_reasons_say_what_the_user_did_last_with_the_item():
    events = [
        event("u", 0, "i1"),
        event("u", 1, "i2", type=EventType.PURCHASE),
        event("u", 2, "i2", type=EventType.CLICK),
        event("u", 3, "i5", type=EventType.ADD_TO_CART),
        event("u", 4, "i1", type=EventType.IMPRESSION),
        event("u", 5, None, type=EventType.SEARCH, query="thing"),
    ]
    policy = PolicySettings(reason_types=True)
    worker = Worker(policy=policy, settings=WorkerSettings(top_k=30, recent_events=8))
    worker.process(events)
    kinds = {"i1": ReasonEvent.VIEW, "i2": ReasonEvent.CLICK, "i5": ReasonEvent.ADD_TO_CART}
    found = set()
    for n, answer in enumerate(worker.journal.recommendations()):
        for listed in answer.items:
            assert listed.reason.kind is ReasonKind.SIMILAR_TO
            expected = kinds[listed.reason.item_id]
            if n == 1 and listed.reason.item_id == "i2":
                expected = ReasonEvent.PURCHASE
            assert listed.reason.event_type is expected
            found.add(expected)
    assert len(found) == 4


def test_a_policy_refuses_no_bundle_in_a_rehearsal():
    policy = PolicySettings(
        leave_out="seen", restrictions=(Restriction(categories=("Shoes",)),), brand_cap=1,
        diversity=0.3, exploration="posterior",
    )  # fmt: skip
    settings = Settings(policy=policy, worker=WorkerSettings(top_k=64))
    rehearse(LoadedModel(FakeModel(), None), settings)


def test_live_quality_is_measured_under_a_policy_and_warming_up_takes_it_along():
    worker = Worker(policy=EXPLORING["everything"])
    worker.arm.warm_up()
    events = streams(users=6, seed=2)
    worker.process(events[:20])
    again = Worker(policy=EXPLORING["everything"])
    states = {state.user_id: msgspec.msgpack.encode(state)
              for state in worker.journal.states().values()}  # fmt: skip
    again.users.store(0, states)
    again.process(events[20:], first_offset=20)
    counted = sum(
        sample.value
        for family in again.metrics.registry.collect()
        if family.name == "innerloop_prequential_events"
        for sample in family.samples
        if sample.name.endswith("_total")
    )
    assert counted > 0


@pytest.mark.parametrize("name", EXPLORING)
def test_a_worker_that_was_killed_repeats_the_lists_that_it_had_published(name):
    events = streams(users=8, seed=12)
    half = len(events) // 2

    def start() -> Worker:
        worker = Worker(policy=EXPLORING[name])
        worker.catalogue.apply([ItemChange(f"i{n}", branded(n)) for n in range(30)])
        return worker

    first = start()
    first.process(events[:half])
    states = {state.user_id: msgspec.msgpack.encode(state)
              for state in first.journal.states().values()}  # fmt: skip
    first.process(events[half:], first_offset=half)  # published, but its states are lost
    again = start()
    again.users.store(0, states)
    again.process(events[half - 10 :], first_offset=half - 10)
    before, after = first.journal.recommendations()[half:], again.journal.recommendations()
    assert after == before
    assert any(len({i.propensity for i in r.items}) > 2 for r in after)
