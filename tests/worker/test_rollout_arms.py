"""Arms side by side and one after the other: who answers whom, and what becomes of users."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from fake_model import FakeModel
from recording_learner import recording
from rollout_parts import ArmsWorker, OtherModel, tried
from test_service import visits
from worker_parts import Worker, event, messages

from schemas.model_rollout import CandidateMode
from schemas.settings import WorkerSettings
from worker.events_seen import EVENTS_SEEN_LABELS
from worker.item_memory.config import MemoryConfig
from worker.item_memory.memory import ItemMemory
from worker.item_sharing.interface import MemorySource
from worker.rollout.loading import LoadedModel
from worker.rollout.routing import Share
from worker.rollout.stores import ShadowStore
from worker.stages.decode import pick
from worker.state.disk_store import DiskStore
from worker.state.sealed import Sealed
from worker.state.sealing import PLAIN

SETTINGS = WorkerSettings(top_k=5, recent_events=8)
EVENTS = [e for e in visits(users=12, length=10, seed=3) if int(e.item_id[1:]) < 30]


def halves() -> tuple[list, list]:
    return EVENTS[: len(EVENTS) // 2], EVENTS[len(EVENTS) // 2 :]


def lists(recommendations) -> dict[str, list[str]]:
    return {r.caused_by: [i.item_id for i in r.items] for r in recommendations}


def test_a_larger_share_holds_every_user_of_a_smaller_one():
    users = [f"user-{n}" for n in range(5000)]
    shares = {p: set(np.array(users)[Share("salt", p).of(users)]) for p in (1, 10, 20, 50, 100)}
    for smaller, larger in ((1, 10), (10, 20), (20, 50), (50, 100)):
        assert shares[smaller] <= shares[larger]
    assert len(shares[100]) == 5000
    for percent in (10, 20, 50):
        assert abs(len(shares[percent]) / 5000 - percent / 100) < 0.02
    other = set(np.array(users)[Share("another", 10).of(users)])
    assert 0 < len(other & shares[10]) < 120  # of about 500: independent, as 50 would be
    # For good: an upgrade must not deal the users anew.
    assert [u in Share("9f1c2d3e4b5a6978", 50) for u in users[:8]] == SPLIT


SPLIT = [False, False, True, False, False, True, False, True]


def test_events_are_picked_in_all_columns():
    decoded = Worker().processor._decoder.decode(messages(EVENTS)).events
    some = pick(decoded, np.array([2, 5, 3]))
    assert some.event_ids == [EVENTS[i].event_id for i in (2, 5, 3)]
    assert some.offsets == [2, 5, 3]
    assert len(some) == 3


def test_after_a_switch_users_are_adapted_again_from_their_recent_events():
    """As a worker with the new model would have them that reads their states back."""
    before, after = halves()
    switched, plain, restarted = ArmsWorker(settings=SETTINGS), Worker(), Worker(model=OtherModel())
    switched.process(before)
    plain.process(before)
    switched.form(LoadedModel(OtherModel(), None))
    records = [(r.key, r.value) for r in plain.journal.records if r.topic.endswith("state")]
    restarted.loader.load(records, 0, len(before))
    switched.process(after, first_offset=len(before))
    restarted.process(after, first_offset=len(before))
    answers = switched.journal.recommendations()
    assert lists(answers[: len(before)]) == lists(plain.journal.recommendations())
    assert lists(answers[len(before) :]) == lists(restarted.journal.recommendations())
    assert [r.events_seen for r in answers[len(before) :]] == [
        r.events_seen for r in restarted.journal.recommendations()
    ]
    assert switched.journal.states() | restarted.journal.states() == switched.journal.states()


def test_whoever_does_not_come_back_leaves_the_old_arm_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr("worker.rollout.arms._LEAVING_AT_ONCE", 5)
    worker = ArmsWorker(settings=SETTINGS)
    worker.process(EVENTS)
    worker.form(LoadedModel(OtherModel(), None))
    worker.process([event("u3", 100)], first_offset=1000)
    for left in (11, 6, 1, 0):
        worker.arms.report()
        sample = worker.metrics.registry.get_sample_value
        assert sample("innerloop_rollout_retired_users") == left
        assert sample("innerloop_users_resident") == left + 1
        assert sample("innerloop_users_stored") == 11 - left
        worker.arms.tidy_up()
    assert worker.arms.canonical() == [worker.arms.primary]
    worker.process([event("u1", 100)], first_offset=1001)
    assert worker.journal.states()["u1"].events_seen == 1 + sum(e.user_id == "u1" for e in EVENTS)


@pytest.mark.parametrize("mode", CandidateMode)
def test_a_scrape_at_any_time_finds_the_users_of_all_arms(monkeypatch, mode):
    worker = ArmsWorker(settings=SETTINGS)
    before, after = halves()
    worker.process(before)
    worker.form(worker.first, tried(OtherModel(), 50, mode))
    known = len({event.user_id for event in before})
    shown = {"users_resident": [], "users_stored": []}
    for name, values in shown.items():
        monkeypatch.setattr(getattr(worker.metrics, name), "set", values.append)
    for number, one in enumerate(after, start=len(before)):
        worker.process([one], first_offset=number)
    assert known == len({event.user_id for event in EVENTS})
    assert len(shown["users_resident"]) >= len(after)
    assert set(shown["users_resident"]) == {known} and set(shown["users_stored"]) == {0}


def test_back_and_forth_nobody_is_lost_or_doubled():
    worker, models = ArmsWorker(settings=SETTINGS), [LoadedModel(OtherModel("b"), None)]
    models.append(worker.first)
    for n in range(0, len(EVENTS), 10):
        worker.process(EVENTS[n : n + 10], first_offset=n)
        worker.form(models[n // 10 % 2])
        worker.arms.tidy_up()
    seen = defaultdict(list)
    for answer in worker.journal.recommendations():
        seen[answer.user_id].append(answer.events_seen)
    assert Counter({user: len(numbers) for user, numbers in seen.items()}) == Counter(
        e.user_id for e in EVENTS
    )
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in seen.values())


def test_each_user_is_answered_by_one_arm_as_if_it_were_alone():
    """Users of either arm get what a worker with that model alone gives them."""
    divided = ArmsWorker(settings=SETTINGS)
    other = OtherModel("other-1")
    divided.form(divided.first, tried(other, 40))
    for n in range(0, len(EVENTS), 16):
        divided.process(EVENTS[n : n + 16], first_offset=n)
    alone = {"fake-1": Worker(), "other-1": Worker(model=OtherModel("other-1"))}
    for worker in alone.values():
        worker.process(EVENTS)
    share = Share("s", 40)
    answers = divided.journal.recommendations()
    assert Counter(r.caused_by for r in answers) == Counter(e.event_id for e in EVENTS)
    versions = {r.user_id: r.model_version for r in answers}
    assert set(versions.values()) == {"fake-1", "other-1"}
    for answer in answers:
        inside = answer.user_id in share
        assert answer.model_version == ("other-1" if inside else "fake-1")
        assert answer.variant == ("candidate" if inside else "default")
    for version, worker in alone.items():
        expected = lists(worker.journal.recommendations())
        for answer in answers:
            if answer.model_version == version:
                assert [i.item_id for i in answer.items] == expected[answer.caused_by]
        states = worker.journal.states()
        for user, state in divided.journal.states().items():
            if versions[user] == version:
                assert state == states[user]


def test_the_promoted_arm_keeps_its_users_and_takes_the_others():
    before, after = halves()
    worker, other = ArmsWorker(settings=SETTINGS), OtherModel("other-1")
    candidate = tried(other, 40)
    worker.form(worker.first, candidate)
    worker.process(before)
    arm = worker.arms.trial.arm
    residents = len(arm.arena)
    worker.form(candidate[1])
    assert worker.arms.primary is arm and len(arm.arena) == residents > 0
    worker.process(after, first_offset=len(before))
    answers = worker.journal.recommendations()[len(before) :]
    assert {(r.model_version, r.variant) for r in answers} == {("other-1", "default")}
    info = worker.metrics.model_info
    assert [s.labels["variant"] for s in next(iter(info.collect())).samples] == ["default"]


@pytest.mark.parametrize("percent", [100, 50])
def test_a_shadow_is_measured_and_nothing_of_it_is_published(percent):
    worker, plain = ArmsWorker(settings=SETTINGS), Worker()
    before, after = halves()
    worker.process(before)
    worker.form(worker.first, tried(OtherModel(), percent, CandidateMode.SHADOW))
    worker.process(after, first_offset=len(before))
    plain.process(before)
    plain.process(after, first_offset=len(before))
    assert worker.journal.records == plain.journal.records
    alone = Worker(model=OtherModel())
    alone.loader.load(
        [(r.key, r.value) for r in plain.journal.records[: 3 * len(before)]
         if r.topic == "user-state" and r.value in states_at(plain, len(before))],
        0,
        len(before),
    )  # fmt: skip
    inside = [e for e in after if e.user_id in Share("s", percent)]
    for n, e in enumerate(after):
        if e in inside:
            alone.process([e], first_offset=len(before) + n)
    tested = 0.0
    for name in ("events", "hits", "reciprocal_rank"):
        for label in EVENTS_SEEN_LABELS:
            of_shadow = quality(worker, f"rollout_prequential_{name}", label, variant="candidate")
            assert of_shadow == pytest.approx(quality(alone, f"prequential_{name}", label))
            tested += of_shadow
    assert tested > len(inside) / 2
    sample = worker.metrics.registry.get_sample_value
    assert sample("innerloop_records_total", {"outcome": "applied"}) == len(EVENTS)


def quality(worker: Worker | ArmsWorker, name: str, label: str, **labels: str) -> float:
    labels["events_seen"] = label
    return worker.metrics.registry.get_sample_value(f"innerloop_{name}_total", labels) or 0.0


def states_at(worker: Worker, events: int) -> set[bytes]:
    """Return the states that were published by the time so many events were applied."""
    found, seen = set(), 0
    for record in worker.journal.records:
        seen += record.topic == "recommendations"
        if seen <= events and record.topic == "user-state":
            found.add(record.value)
    return found


@pytest.mark.parametrize("sealing", [PLAIN, Sealed([b"k" * 32])])
def test_a_shadow_keeps_its_own_users_where_there_is_little_room(tmp_path, sealing):
    settings = WorkerSettings(
        top_k=5, recent_events=4, resident_users=3, state_folder=tmp_path / "users"
    )
    store = DiskStore(tmp_path / "users", sealing=sealing)
    little = ArmsWorker(settings=settings, base=store, sealing=sealing)
    much = ArmsWorker(settings=WorkerSettings(top_k=5, recent_events=4))
    for worker in (little, much):
        worker.form(worker.first, tried(OtherModel(), 100, CandidateMode.SHADOW))
        for n in range(0, len(EVENTS), 4):
            worker.process(EVENTS[n : n + 4], first_offset=n)
    for label in EVENTS_SEEN_LABELS:
        name = "rollout_prequential_reciprocal_rank"
        a, b = (quality(w, name, label, variant="candidate") for w in (little, much))
        assert a == pytest.approx(b)
    shadow = little.arms.trial.arm
    assert isinstance(shadow.users._store, ShadowStore)
    on_disk = b"".join(file.read_bytes() for file in (tmp_path / "users").rglob("*.mdb"))
    for arm in (little.arms.primary, shadow):
        assert (arm.model.version.encode() in on_disk) == (sealing is PLAIN)
    little.form(little.first, tried(OtherModel(), 50, CandidateMode.SHADOW))
    little.arms.close()


def test_erased_users_are_nowhere_any_more():
    worker = ArmsWorker(settings=SETTINGS)
    worker.process(EVENTS)
    worker.form(LoadedModel(OtherModel("b"), None), tried(OtherModel("c"), 50))
    worker.process([event("u1", 100), event("u2", 101)], first_offset=1000)
    assert all(worker.arms.erase(f"u{n}") for n in range(12))
    assert not any(worker.arms.erase(f"u{n}") for n in range(12))
    worker.process([event("u1", 102), event("u3", 103)], first_offset=1002)
    assert [r.events_seen for r in worker.journal.recommendations()[-2:]] == [1, 1]
    worker.form(
        LoadedModel(OtherModel("b"), None), tried(OtherModel("d"), 100, CandidateMode.SHADOW)
    )
    worker.process([event("u1", 104)], first_offset=1004)
    assert worker.arms.erase("u1") and not worker.arms.erase("u1")


def test_partitions_that_go_take_their_users_of_every_arm_along():
    worker = ArmsWorker(settings=SETTINGS)
    worker.process(EVENTS)
    worker.form(LoadedModel(OtherModel("b"), None), tried(OtherModel("c"), 50))
    worker.process([event(f"u{n}", 100) for n in range(6)], first_offset=1000)
    worker.process([event("elsewhere", 1)], partition=1)
    worker.arms.release_partition(0)
    assert sum(len(arm.arena) for arm in worker.arms.canonical()) == 1
    assert worker.base.count(0) == 0


@pytest.mark.parametrize("percent", [30, 100])
def test_the_item_memory_learns_the_same_whoever_answers(percent):
    """From every event once: of a candidate's users, too, and not from a shadow again."""
    mode = CandidateMode.SERVE if percent < 100 else CandidateMode.SHADOW
    divided = ArmsWorker(settings=SETTINGS, memory=recording())
    alone = Worker(settings=SETTINGS, item_memory=recording())
    divided.form(divided.first, tried(OtherModel(), percent, mode))
    for n in range(0, len(EVENTS), 16):
        divided.process(EVENTS[n : n + 16], first_offset=n)
        alone.process(EVENTS[n : n + 16], first_offset=n)
    learned = [sorted(w.item_learning.learner.lessons) for w in (divided, alone)]
    assert learned[0] == learned[1]
    assert divided.journal.values("item-transitions") == alone.journal.values("item-transitions")


def test_a_model_without_item_memory_teaches_it_and_ranks_without():
    config = MemoryConfig(neighbours=4, recent=4, trending=4, dense=5)
    source = MemorySource(lambda _: ItemMemory(config), config=config)
    worker = ArmsWorker(settings=SETTINGS, memory=source, model=FakeModel("with"))
    worker.form(LoadedModel(FakeModel("without"), None))
    plain = Worker(model=FakeModel("without"))
    for each in (worker, plain):
        each.process(EVENTS)
    assert lists(worker.journal.recommendations()) == lists(plain.journal.recommendations())
    assert (worker.item_learning.learner.arrays.visits.values > 0).sum() > 10
