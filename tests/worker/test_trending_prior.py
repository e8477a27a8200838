"""What is trending in the lists of users of whom little is known, and in nobody else's."""

from __future__ import annotations

import math
from itertools import pairwise

import msgspec
import numpy as np
import pytest
import torch
from confluent_kafka import Message
from fake_model import FakeModel
from running_worker import drain, running, wait_until, with_worker
from test_memory_bundle import clicks, model, worker_of
from test_policy_filters import RULES, SHOES, batch_policy, labelled, permitted, surfaces_of
from test_policy_filters import amount as by_rules
from worker_parts import NOW_MS, Worker, event, item

from schemas.clickstream import EventType
from schemas.codec import JsonCodec
from schemas.insights import ALL_SURFACES, Trending, TrendingItem
from schemas.recommendations import Recommendation
from schemas.settings import PolicySettings, Settings, WorkerSettings
from schemas.topics import TOPIC_SPECS, Topic
from worker.catalogue import Catalogue, ItemChange
from worker.kafka_admin import create_topics
from worker.metrics import WorkerMetrics
from worker.policy.policy import Policy
from worker.rows import NO_ITEM
from worker.stages.rank import MemoryStep, rank
from worker.trending.follower import TrendingFollower, Trends
from worker.trending.prior import TrendingPrior

__all__ = ["model"]

NAME = "innerloop_trending_prior_items"


def trends(revision: int = 1, **surfaces: dict[str, float]) -> Trends:
    named = {name.replace("everywhere", ALL_SURFACES): counts for name, counts in surfaces.items()}
    return Trends(
        {name: (list(c), np.array(list(c.values()), float)) for name, c in named.items()}, revision
    )


def prior_of(catalogue: Catalogue, latest: Trends, events: float = 1.0) -> TrendingPrior:
    return TrendingPrior(lambda: latest, catalogue, events=events, strength=0.7)


def plain_catalogue(items: int) -> Catalogue:
    catalogue = Catalogue(FakeModel())
    catalogue.apply([ItemChange(f"i{n}", labelled(n)) for n in range(items)])
    return catalogue


HOME = {f"i{n}": 3.0 * n for n in range(1, 12)} | {"i9000": 99.0}
EVERYWHERE = {f"i{n}": 40.0 - n for n in range(0, 36, 3)}


@pytest.mark.parametrize("way", ["index", "matrix"])
@pytest.mark.parametrize("with_memory", [False, True])
@pytest.mark.parametrize("ruled", [False, True])
def test_lists_are_the_exact_top_of_scores_and_amounts(
    request, monkeypatch, way, with_memory, ruled
):
    draw, k, n, items = np.random.default_rng(8), 6, 40, 200
    if with_memory:
        worker = worker_of(request.getfixturevalue("model"))
        worker.process(clicks())
        catalogue, ranker = worker.catalogue, worker.model
        memory = MemoryStep(worker.item_learning.learner)
        catalogue.apply([ItemChange(f"i{i}", labelled(i)) for i in range(items)])
    else:
        catalogue, ranker, memory = plain_catalogue(items), FakeModel(), None
    catalogue.apply([ItemChange("i9", labelled(9, available=False))])
    queries = torch.randn(n, ranker.dim, generator=torch.Generator().manual_seed(3))
    recent = draw.integers(0, items, (n, 10))
    seen = np.arange(n) % 12
    recent[np.arange(10) >= seen[:, None]] = NO_ITEM
    whole = rank(queries, recent, catalogue, ranker, items, memory=memory)
    if way == "matrix":
        monkeypatch.setattr(Catalogue, "index", None)
    surfaces = surfaces_of(n)
    prior = prior_of(catalogue, trends(home=HOME, everywhere=EVERYWHERE)).for_lists(
        surfaces, recent
    )
    policy = None
    if ruled:
        settings = PolicySettings(restrictions=(SHOES,), rules=RULES)
        types = np.zeros(recent.shape, np.uint8)
        policy = batch_policy(Policy.of(settings, catalogue, k), recent, types, surfaces)
    found = rank(queries, recent, catalogue, ranker, k, memory=memory, policy=policy, prior=prior)
    changed = 0
    for i, surface in enumerate(surfaces):
        events = int((recent[i] != NO_ITEM).sum())
        weight = 1 / (1 + events) if events < 10 else 0.0
        counts = HOME if surface == "home" else EVERYWHERE
        expected = {
            row: score
            + weight * 0.7 * math.log1p(counts.get(f"i{row}", 0.0))
            + (by_rules(row) if ruled else 0.0)
            for row, score in zip(whole.rows[i].tolist(), whole.scores[i].tolist(), strict=True)
            if row != NO_ITEM
            and not (ruled and surface == "shoes-page" and not permitted(surface, row))
        }
        best = sorted(expected, key=lambda row: (-expected[row], row))
        rows = found.rows[i].tolist()
        assert len(set(rows)) == k and 9 not in rows
        assert found.scores[i] == pytest.approx([expected[row] for row in rows], abs=1e-4)
        assert found.scores[i] == pytest.approx([expected[row] for row in best[:k]], abs=1e-4)
        assert all(a >= b for a, b in pairwise(found.scores[i].tolist()))
        changed += weight > 0 and rows != [r for r in whole.rows[i].tolist() if r >= 0][:k]
        if weight == 0 and not ruled:
            assert rows == whole.rows[i, :k].tolist()
    assert changed > n / 3


def test_where_nothing_counts_there_is_no_prior():
    catalogue = plain_catalogue(20)
    nobody = np.full((2, 3), NO_ITEM)
    known = np.tile(np.arange(3), (2, 4))
    room = np.pad(known, ((0, 0), (0, 1)), constant_values=NO_ITEM)
    assert prior_of(catalogue, Trends()).for_lists(None, nobody) is None
    assert prior_of(catalogue, trends(everywhere={"i77": 5.0})).for_lists(None, nobody) is None
    some = prior_of(catalogue, trends(everywhere={"i7": 5.0}))
    assert some.for_lists(None, nobody[:0]) is None
    assert some.for_lists(None, known) is None  # after twelve events
    assert some.for_lists(None, nobody).weights.tolist() == [1.0, 1.0]
    longer = prior_of(catalogue, trends(everywhere={"i7": 5.0}), events=8.0)
    assert longer.for_lists(None, room).weights == pytest.approx([0.4, 0.4])
    assert longer.for_lists(None, known) is None  # it may be any number of events
    # What is trending on one surface says nothing of others.
    home = prior_of(catalogue, trends(home={"i7": 5.0}))
    assert home.for_lists(["search", None], nobody) is None
    assert home.for_lists(["search", "home"], nobody).weights.tolist() == [0.0, 1.0]


def test_items_that_come_later_are_found_and_lists_know_of_it():
    catalogue = plain_catalogue(5)
    prior = prior_of(catalogue, trends(everywhere={"i7": 5.0}))
    nobody = np.full((1, 3), NO_ITEM)
    assert prior.for_lists(None, nobody) is None
    before = prior.revision
    catalogue.apply([ItemChange("i7", item(7))])
    found = prior.for_lists(None, nobody)
    assert found.rows.tolist() == [[catalogue.row("i7")]]
    assert found.amounts[0, 0] == pytest.approx(0.7 * math.log(6))
    assert prior.revision > before
    again = prior.revision
    prior.level()
    assert prior.revision == again


TREND = trends(everywhere={f"i{n}": 5000.0 for n in (3, 11, 17, 22, 28)})
TRENDING = {"i3", "i11", "i17", "i22", "i28"}
LASTING = WorkerSettings(top_k=5, recent_events=8, trending_prior_events=1.0)


def test_a_new_user_gets_what_is_trending_and_after_some_events_what_they_like():
    events = [event("u", n, f"i{n % 3}") for n in range(12)]
    events.insert(1, event("u", 50, None, type=EventType.SEARCH, query="thing number 4"))
    impressions = [event("v", n, f"i{n}", type=EventType.IMPRESSION) for n in range(12)]
    latest = [Trends()]
    with_it, without = Worker(settings=LASTING, trends=lambda: latest[0]), Worker()
    latest[0] = TREND
    for worker in (with_it, without):
        worker.process([*events, *impressions])
    ours, plain = with_it.journal.recommendations(), without.journal.recommendations()
    assert {i.item_id for i in ours[0].items} == TRENDING
    # Searches and impressions are no events on items that tell what one likes.
    assert {i.item_id for i in ours[1].items} == TRENDING
    assert all({i.item_id for i in answer.items} == TRENDING for answer in ours[len(events) :])
    for answer, expected in list(zip(ours, plain, strict=True))[10 : len(events)]:
        assert answer.items == expected.items
    assert {i.item_id for i in plain[0].items} != TRENDING
    first = with_it.sample("innerloop_prequential_events_total", events_seen="0")
    assert first == 1.0


def test_live_quality_before_the_first_event_is_that_of_what_is_trending():
    latest = [Trends()]
    worker = Worker(trends=lambda: latest[0])

    def hits(number: int, users: str) -> float:
        before = worker.sample("innerloop_prequential_hits_total", events_seen="0")
        events = [event(f"{users}{n}", 0, f"i{number}") for n in range(3)]
        worker.process(events, first_offset=worker.journal.committed.get(0, 0))
        return worker.sample("innerloop_prequential_hits_total", events_seen="0") - before

    listed = [n for n in range(30) if hits(n, f"plain{n}-")]
    assert len(listed) == 5
    latest[0] = TREND
    assert {f"i{n}" for n in range(30) if hits(n, f"trend{n}-")} == TRENDING
    latest[0] = Trends(revision=2)
    assert [n for n in range(30) if hits(n, f"after{n}-")] == listed


def record(surface: str | None, value: object, offset: int = 0) -> Message:
    body = value if isinstance(value, bytes | None) else msgspec.json.encode(value)
    key = None if surface is None else surface.encode()
    return Message(topic="trending", partition=0, offset=offset, key=key, value=body)


def told(surface: str, counts: dict[str, float], end: int = NOW_MS) -> Trending:
    items = [TrendingItem(item_id=item_id, score=score) for item_id, score in counts.items()]
    return Trending(surface=surface, window_start=end - 1000, window_end=end, items=items)


def test_the_latest_of_each_surface_counts_and_garbage_is_counted(caplog):
    settings = Settings(worker=WorkerSettings(trending_prior_max_age_seconds=60))
    metrics, now = WorkerMetrics(), [NOW_MS + 5000]
    follower = TrendingFollower(settings, JsonCodec(), metrics, now_ms=lambda: now[0])
    sample = metrics.registry.get_sample_value
    age = "innerloop_trending_prior_age_seconds"
    assert math.isnan(sample(age))
    follower.take([])
    assert follower.latest().revision == 0
    follower.take(
        [
            record("home", told("home", {"a": 9.0})),
            record("home", told("home", {"b": 3.0, "c": 0.0, "d": -1.0, "e": 1.0})),
            record("*", told("*", {"b": 4.0, "z": 2.0}, NOW_MS - 30_000)),
            *(record("home", b"garbage " * n, n) for n in range(1, 5)),
            record("other", told("home", {"a": 9.0})),
            record(None, told("home", {"a": 9.0})),
            Message(topic="trending", partition=0, offset=9, key=b"\xff", value=b"{}"),
        ]
    )
    latest = follower.latest()
    assert {s: dict(zip(i, c.tolist(), strict=True)) for s, (i, c) in latest.surfaces.items()} == {
        "home": {"b": 3.0, "e": 1.0},
        "*": {"b": 4.0, "z": 2.0},
    }
    assert sample("innerloop_trending_records_invalid_total") == 7.0
    assert sample(NAME) == 3.0
    assert sample(age) == pytest.approx(5.0)
    assert caplog.text.count("cannot be used") == 3 and "4 more like it" in caplog.text
    assert "garbage" not in caplog.text
    follower.take([])
    assert follower.latest() is latest
    now[0] += 30_000  # what all surfaces say is too old by now
    follower.take([])
    assert set(follower.latest().surfaces) == {"home"}
    assert follower.latest().revision == latest.revision + 1
    follower.take([record("home", None)])
    assert not follower.latest().surfaces
    assert sample(NAME) == 0.0


def test_the_worker_finds_a_topic_that_appears_while_it_runs(
    kafka_settings, produce_all, consume_all, monkeypatch
):
    monkeypatch.setattr("worker.trending.follower._LOOK_S", 0.2)
    settings = with_worker(kafka_settings, trending_prior=True, trending_prior_events=1.0)
    create_topics(settings, [topic for topic in TOPIC_SPECS if topic is not Topic.TRENDING])
    encode = msgspec.json.encode
    produce_all(settings, Topic.CATALOG, [(f"i{n}", encode(item(n))) for n in range(30)])
    parts = {
        "before": [event("u-before", n, f"i{n % 3}") for n in range(2)],
        "after": [
            event("u-after", n, f"i{n % 3}", surface="home" if n < 2 else None) for n in range(12)
        ],
    }
    scores = dict.fromkeys(TRENDING, 5000.0)
    home = told("home", {f"i{n}": 5000.0 for n in range(5, 10)}, 4_000_000_000_000)
    with running(settings) as worker:
        for name, events in parts.items():
            if name == "after":
                create_topics(settings, [Topic.TRENDING])
                everywhere = told(ALL_SURFACES, scores, 4_000_000_000_000)
                records = [(ALL_SURFACES, encode(everywhere)), ("home", encode(home))]
                produce_all(settings, Topic.TRENDING, [("home", b"garbage"), *records])
                wait_until(lambda: worker.sample(NAME) == 10.0, "what is trending")
            produce_all(settings, Topic.CLICKSTREAM, [(e.user_id, encode(e)) for e in events])
            drain(settings)
        assert worker.sample("innerloop_trending_records_invalid_total") == 1.0
        # Before their first events: one list without and one with what is trending everywhere.
        assert worker.sample("innerloop_prequential_events_total", events_seen="0") == 2.0
    decode = msgspec.json.Decoder(Recommendation).decode
    answers = {}
    for each in consume_all(settings, Topic.RECOMMENDATIONS):
        answer = decode(each.value())
        answers[answer.caused_by] = [i.item_id for i in answer.items]
    alone = Worker(settings=settings.worker)
    alone.process([e for events in parts.values() for e in events])
    plain = {r.caused_by: [i.item_id for i in r.items] for r in alone.journal.recommendations()}
    for n in range(2):
        assert answers[f"u-before-{n}"] == plain[f"u-before-{n}"]
        assert set(answers[f"u-after-{n}"]) == {f"i{n}" for n in range(5, 10)}
    assert set(answers["u-after-2"]) == TRENDING
    for n in (9, 10, 11):
        assert answers[f"u-after-{n}"] == plain[f"u-after-{n}"]
