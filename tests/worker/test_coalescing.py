"""Several events of a user answered at once, and no user too often: whom, with what, and when."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import numpy as np
import pytest
from exactly_once_parts import named
from rollout_parts import ArmsWorker, OtherModel, tried
from test_idle_users import on_day, tombstones
from test_memory_bundle import _what_trends_changes_often, clicks, model
from test_pipeline import same_lists, streams
from test_prequential import counts, stream
from worker_parts import Journal, Worker, event, message, messages

from schemas.clickstream import EventType
from schemas.model_rollout import CandidateMode
from schemas.recommendations import Recommendation
from schemas.settings import PolicySettings, Restriction, WorkerSettings
from worker.catalogue import Catalogue
from worker.events_seen import EVENTS_SEEN_LABELS
from worker.item_sharing.of_bundle import memory_source
from worker.rollout.loading import LoadedModel

__all__ = ["_what_trends_changes_often", "model"]

BASE = {"top_k": 5, "recent_events": 8}
PLAIN = WorkerSettings(**BASE)
COALESCING = WorkerSettings(**BASE, coalesce=True)
SECOND = WorkerSettings(**BASE, min_interval_ms=1000)
POLICY = PolicySettings(
    leave_out="seen",
    reason_types=True,
    exploration="epsilon",
    epsilon=0.3,
    restrictions=(Restriction(surface="gifts", except_categories=("Home",)),),
)


def in_batches(worker: Worker, events, batch: int = 16) -> Worker:
    for first in range(0, len(events), batch):
        worker.process(events[first : first + batch], first_offset=first)
    return worker


def last_of_each(answers, events, batch: int = 16) -> list[Recommendation]:
    """The answers to users' last events in each micro-batch, naming the earlier ones."""
    by_event = {r.caused_by: r for r in answers}
    found = []
    for first in range(0, len(events), batch):
        of_user: dict[str, list[str]] = {}
        for e in events[first : first + batch]:
            of_user.setdefault(e.user_id, []).append(e.event_id)
        order = [e.event_id for e in events[first : first + batch]]
        for ids in sorted(of_user.values(), key=lambda ids: order.index(ids[-1])):
            answer = by_event[ids[-1]]
            found.append(msgspec.structs.replace(answer, also_caused_by=tuple(ids[:-1])))
    return found


@pytest.mark.parametrize("policy", [PolicySettings(), POLICY], ids=["no policy", "policy"])
def test_lists_are_those_of_the_last_events_answered_one_by_one(policy):
    events = [
        msgspec.structs.replace(e, surface="gifts" if i % 3 else None)
        for i, e in enumerate(streams(users=9, seed=4))
    ]
    each = in_batches(Worker(settings=PLAIN, policy=policy), events)
    worker = in_batches(Worker(settings=COALESCING, policy=policy), events)
    answers = worker.journal.recommendations()
    expected = last_of_each(each.journal.recommendations(), events)
    assert len(expected) < 0.8 * len(events), "hardly any user came twice: this shows nothing"
    same_lists(answers, expected)
    for ours, theirs in zip(answers, expected, strict=True):
        assert [i.propensity for i in ours.items] == [i.propensity for i in theirs.items]
    assert worker.journal.states() == each.journal.states()
    assert worker.journal.committed == each.journal.committed
    spared = len(events) - len(answers)
    assert worker.sample("innerloop_events_coalesced_total") == spared
    assert worker.sample("innerloop_event_to_recommendation_seconds_count") == len(events)


@pytest.mark.parametrize("by", ["index", "small chunks", "matrix"])
def test_lists_with_an_item_memory_are_those_of_the_last_events(model, monkeypatch, by):
    events = clicks(users=5, length=90)
    source = memory_source(model, WorkerSettings())
    each = in_batches(Worker(model=model, item_memory=source, settings=PLAIN), events)
    if by == "small chunks":
        monkeypatch.setattr("worker.stages.rank_by_index._AT_ONCE", 3)
    if by == "matrix":
        monkeypatch.setattr(Catalogue, "index", None)
    source = memory_source(model, WorkerSettings())
    worker = in_batches(Worker(model=model, item_memory=source, settings=COALESCING), events)
    expected = last_of_each(each.journal.recommendations(), events)
    same_lists(worker.journal.recommendations(), expected)
    learned = [w.item_learning.learner for w in (each, worker)]
    for ours, theirs in zip(*(m.arrays for m in learned), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
    assert learned[0].revision == learned[1].revision


def test_an_item_memory_learns_from_events_that_are_not_answered_yet(model):
    worker, twin = (
        Worker(model=model, item_memory=memory_source(model, WorkerSettings()), settings=settings)
        for settings in (SECOND, PLAIN)
    )
    events = [event("u", n, f"i{n}") for n in range(4)]
    for n, e in enumerate(events):
        worker.process([e], first_offset=n)
        twin.process([e], first_offset=n)
    for part, other in zip(
        worker.item_learning.learner.arrays, twin.item_learning.learner.arrays, strict=True
    ):
        for a, b in zip(part, other, strict=True):
            np.testing.assert_array_equal(a, b)
    worker.now_s = 1.0
    worker.processor.process([])
    first, last = worker.journal.recommendations()
    assert [first.caused_by, last.caused_by] == ["u-0", "u-3"]
    same_lists([msgspec.structs.replace(last, also_caused_by=())],
               twin.journal.recommendations()[-1:])  # fmt: skip


def test_a_storm_is_answered_at_once_and_then_when_the_interval_is_over():
    worker, twin = Worker(settings=SECOND), Worker(settings=PLAIN)
    storm = [event("u", n, f"i{n}") for n in range(9)]
    for n, e in enumerate(storm):
        worker.now_s = 0.1 * n
        worker.process([e], first_offset=n)
        twin.process([e], first_offset=n)
    assert [r.caused_by for r in worker.journal.recommendations()] == ["u-0"]
    assert worker.sample("innerloop_users_owed") == 1
    assert worker.owed.wait_s() == pytest.approx(0.2)
    worker.now_s = 1.0
    assert worker.owed.wait_s() == 0.0
    worker.processor.process([])  # without waiting for another event of the user
    first, second = worker.journal.recommendations()
    assert second.also_caused_by == tuple(f"u-{n}" for n in range(1, 8))
    assert (second.caused_by, second.events_seen) == ("u-8", 9)
    same_lists([first, msgspec.structs.replace(second, also_caused_by=())],
               [twin.journal.recommendations()[n] for n in (0, 8)])  # fmt: skip
    assert worker.owed.wait_s() == float("inf")
    assert worker.sample("innerloop_users_owed") == 0
    assert worker.sample("innerloop_recommendations_deferred_total") == 1
    worker.now_s = 1.5
    worker.process([event("u", 9)], first_offset=9)  # the interval runs anew
    assert len(worker.journal.recommendations()) == 2
    worker.now_s = 2.0
    worker.process([event("u", 10)], first_offset=10)
    assert named(worker.journal.recommendations()) == [f"u-{n}" for n in range(11)]
    assert (
        worker.journal.states()
        == in_batches(
            twin, [event("u", n, f"i{n}") if n < 9 else event("u", n) for n in range(11)], 100
        ).journal.states()
    )


def test_what_is_owed_is_neither_in_a_state_nor_behind_the_offset_and_nor_are_dead_letters():
    worker = Worker(settings=SECOND)
    worker.process([event("u", 0), event("v", 0)])
    worker.processor.process([message(b"early", b"v", 2), *messages([event("u", 1)], 3)])
    worker.processor.process([message(b"garbage", b"v", 4), *messages([event("w", 0)], 5)])
    assert worker.journal.committed == {0: 3}
    assert [value for _, value, _ in worker.journal.dead_letters()] == [b"early"]
    states = worker.journal.states()
    assert (states["u"].offset, states["w"].offset) == (0, 5)
    worker.now_s = 1.0
    worker.processor.process([])
    assert worker.journal.committed == {0: 6}
    assert [value for _, value, _ in worker.journal.dead_letters()] == [b"early", b"garbage"]
    assert worker.journal.states()["u"].offset == 3
    assert worker.sample("innerloop_dead_letters_total", reason="malformed") == 2


def test_partitions_that_go_take_along_what_is_owed():
    worker = Worker(settings=SECOND)
    for n in range(2):
        worker.process([event("u", n)], first_offset=n, partition=1)
        worker.process([event("v", n)], first_offset=n, partition=2)
    worker.processor.process([message(b"garbage", b"u", 2, partition=1)])
    worker.processor._answering.owe_nothing([1])
    worker.processor.release_partitions([1])
    worker.processor._answering.release_partition(1)
    assert worker.sample("innerloop_users_owed") == 1
    worker.now_s = 1.0
    worker.processor.process([])
    answers = worker.journal.recommendations()
    assert named(answers) == ["u-0", "v-0", "v-1"]
    assert worker.journal.committed == {1: 1, 2: 2}
    assert worker.journal.dead_letters() == []


@pytest.mark.parametrize("most", [None, 1])
@pytest.mark.parametrize("seed", range(12))
def test_crashes_leave_each_event_named_once_and_the_states_of_a_life_without(seed, most):
    """With transactions: what a micro-batch publishes is there together with its offsets."""
    draw = random.Random(seed)
    records = []
    for e in streams(users=8, seed=seed):
        records.append((msgspec.json.encode(e), e.user_id.encode()))
        if draw.random() < 0.15:
            records.append((b"garbage", b"u"))
        if draw.random() < 0.1:
            records.append(records[-1])  # what is known is dropped, and may be owed itself
    log = [message(value, key, offset) for offset, (value, key) in enumerate(records)]
    settings = SECOND.model_copy(update={"resident_users": most})
    journal, now, crashes = Journal(), 0.0, 0
    worker = Worker(settings=settings, journal=journal)
    at = 0
    while at < len(log) or len(worker.owed):
        now = worker.now_s = now + draw.choice((0.0, 0.05, 0.3, 1.0))
        batch = log[at : at + draw.randint(0, 4)]
        at += len(batch)
        worker.processor.process(batch)
        if draw.random() < 0.2:
            crashes += 1
            worker = Worker(settings=settings, journal=journal, now_s=now)
            states = [(r.key, r.value) for r in journal.records if r.topic == "user-state"]
            worker.loader.load(states, 0, len(log))
            at = journal.committed.get(0, 0)
    undisturbed = Worker(settings=PLAIN)
    undisturbed.processor.process(log)
    expected = {r.caused_by: r for r in undisturbed.journal.recommendations()}
    answers = journal.recommendations()
    assert crashes > 0
    assert Counter(named(answers)) == Counter(expected.keys())
    plain = [msgspec.structs.replace(r, also_caused_by=()) for r in answers]
    same_lists(plain, [expected[r.caused_by] for r in answers])
    assert journal.states() == undisturbed.journal.states()
    assert journal.committed == {0: len(log)}
    garbage = sum(value == b"garbage" for value, _ in records)
    assert len(journal.dead_letters()) == garbage


def test_at_the_end_all_are_answered():
    worker = Worker(settings=SECOND)
    worker.process([event(u, n) for n in range(2) for u in "ab"])
    assert not worker.owed.make_due()
    worker.process([event(u, 2) for u in "ab"], first_offset=4)
    assert worker.owed.make_due()
    worker.processor.process([])
    assert Counter(named(worker.journal.recommendations())) == Counter(
        f"{u}-{n}" for n in range(3) for u in "ab"
    )
    assert worker.journal.committed == {0: 6}


@pytest.mark.parametrize("most", [None, 1])
def test_nobody_is_forgotten_whose_event_would_be_read_again(most):
    settings = WorkerSettings(**BASE, min_interval_ms=1000, user_ttl_days=30, resident_users=most)
    worker = Worker(settings=settings)
    worker.process([on_day("owed", 99), on_day("old", 0), on_day("older", 0)])
    worker.process([on_day("owed", 99.1)], first_offset=3)  # holds back from here on
    worker.process([on_day("late", 1)], first_offset=4)
    for n in range(20):
        worker.process([on_day(f"new{n}", 99 + n / 100)], first_offset=5 + n)
    assert sorted(tombstones(worker)) == ["old", "older"]
    worker.now_s = 1.0
    for n in range(40):
        worker.process([on_day("new0", 100 + n / 100)], first_offset=25 + n)
    assert sorted(tombstones(worker)) == ["late", "old", "older"]


def by_hand(worker: Worker, events, start: list[str]) -> dict[str, float]:
    """Hits, each event looked up in the list last published for the user before it."""
    answers = {r.caused_by: r for r in worker.journal.recommendations()}
    last: dict[str, list[str]] = {}
    hits = Counter(dict.fromkeys(("events", "hits"), 0))
    for first in range(0, len(events), 13):
        batch = events[first : first + 13]
        for e in batch:
            if e.type is not EventType.IMPRESSION and worker.catalogue.row(e.item_id) >= 0:
                hits["events"] += 1
                hits["hits"] += e.item_id in last.get(e.user_id, start)
        for e in batch:
            if e.event_id in answers:
                last[e.user_id] = [i.item_id for i in answers[e.event_id].items]
    return dict(hits)


def test_live_quality_is_that_of_the_lists_published():
    events = stream(users=4, length=25)
    worker = in_batches(Worker(settings=COALESCING, items=10), events, 13)
    start = Worker(settings=PLAIN, items=10)
    start.pipeline._prequential.rank_without_events()
    rows = start.pipeline._prequential._start_list
    found = counts(worker)
    total = {
        name: sum(found[label][name] for label in EVENTS_SEEN_LABELS) for name in ("events", "hits")
    }
    assert total == by_hand(worker, events, [start.catalogue.item_ids[row] for row in rows])


@pytest.mark.parametrize("mode", [CandidateMode.SERVE, CandidateMode.SHADOW])
def test_what_is_owed_is_answered_by_whoever_serves_the_user_then(mode):
    worker, twin = ArmsWorker(settings=SECOND), ArmsWorker(settings=PLAIN)
    half = tried(OtherModel(), 50, mode)
    users = [f"user-{n}" for n in range(12)]
    for n in range(3):
        for each in (worker, twin):
            each.process([event(u, n, f"i{n}") for u in users], first_offset=12 * n)
        if n == 1:
            for each in (worker, twin):
                each.form(each.first, half)
    worker.now_s = 1.0
    worker.processor.process([])
    answers = worker.journal.recommendations()
    assert Counter(named(answers)) == Counter(f"{u}-{n}" for u in users for n in range(3))
    assert {len(r.also_caused_by) for r in answers[12:]} == {1}
    variants = {r.variant for r in answers[12:]}
    assert variants == ({"default", "candidate"} if mode is CandidateMode.SERVE else {"default"})
    expected = {r.caused_by: r for r in twin.journal.recommendations()}
    plain = [msgspec.structs.replace(r, also_caused_by=()) for r in answers]
    same_lists(plain, [expected[r.caused_by] for r in answers])
    assert worker.journal.states() == twin.journal.states()
    if mode is CandidateMode.SHADOW:
        shadow = worker.arms.trial.arm
        assert worker.arms._shadow_owed.wait_s() == float("inf")
        assert len(shadow.arena) > 0


def test_a_model_that_is_switched_answers_what_the_one_before_it_owed():
    worker = ArmsWorker(settings=SECOND)
    worker.process([event("u", 0)])
    worker.process([event("u", 1)], first_offset=1)
    worker.form(LoadedModel(OtherModel(), None))
    worker.now_s = 1.0
    worker.processor.process([])
    first, second = worker.journal.recommendations()
    assert (first.model_version, second.model_version) == ("fake-1", "other-1")
    assert (second.caused_by, second.events_seen) == ("u-1", 2)


def test_an_erased_user_is_owed_nothing():
    worker = Worker(settings=SECOND)
    for n in range(2):
        worker.process([event("u", n)], first_offset=n)
    worker.processor._answering.erase("u")
    worker.now_s = 1.0
    assert worker.owed.wait_s() == float("inf")
    worker.processor.process([])
    assert len(worker.journal.recommendations()) == 1
    assert worker.journal.committed == {0: 2}


def test_the_defaults_answer_each_event():
    assert not WorkerSettings().coalesces
    assert COALESCING.coalesces
    assert SECOND.coalesces
