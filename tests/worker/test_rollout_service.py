"""Workers on Apache Kafka that follow plans: what is served, when, by whom, and nothing is lost."""

import random
from collections import Counter, defaultdict

import pytest
from exactly_once_parts import EXACTLY_ONCE
from fake_model import FakeModel
from msgspec.structs import replace
from rollout_parts import (
    await_plan,
    change,
    fake_bundle,
    following,
    publish,
    try_out,
)
from running_worker import drain, make_topics, wait_until, with_worker
from test_service import answers, catalogue_records, event_records, visits

from schemas.codec import decode_state
from schemas.errors import RolloutError
from schemas.model_rollout import CandidateMode
from schemas.topics import Topic
from worker.rollout import changes
from worker.rollout.routing import Share


@pytest.fixture(params=["at_least_once", "exactly_once"])
def settings(request, kafka_settings, produce_all):
    return following_settings(kafka_settings, produce_all, request.param)


def following_settings(kafka_settings, produce_all, delivery="at_least_once"):
    changed = EXACTLY_ONCE if delivery == "exactly_once" else {}
    settings = with_worker(kafka_settings, follow_models=True, **changed)
    make_topics(settings)
    produce_all(settings, Topic.CATALOG, catalogue_records(range(40)))
    return settings


@pytest.fixture
def simple(kafka_settings, produce_all):
    return following_settings(kafka_settings, produce_all)


def assert_each_answered_once(found, events) -> None:
    assert Counter(r.caused_by for r in found) == Counter(e.event_id for e in events)
    seen = defaultdict(list)
    for answer in found:
        seen[answer.user_id].append(answer.events_seen)
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in seen.values())


def test_switches_under_load_lose_and_double_nothing(settings, produce_all, consume_all, tmp_path):
    """Three models, one after the other, and back, while events keep coming."""
    events = visits(users=30, length=24, seed=5)
    bundles = [fake_bundle(tmp_path / name, kind) for name, kind in (("a", "other"), ("b", "fake"))]
    steps = [
        lambda: publish(settings, bundles[0]),
        lambda: publish(settings, bundles[1]),
        lambda: change(settings, changes.rolled_back),
    ]
    pieces = [events[n : n + 90] for n in range(0, len(events), 90)]
    with following(settings, FakeModel("own")) as worker:
        for step in steps:
            produce_all(settings, Topic.CLICKSTREAM, event_records(pieces.pop(0)))
            plan = step()
            produce_all(settings, Topic.CLICKSTREAM, event_records(pieces.pop(0)))
            await_plan(plan, worker)
        for piece in pieces:
            produce_all(settings, Topic.CLICKSTREAM, event_records(piece))
        drain(settings)
        assert worker.sample("innerloop_rollout_plans_total", result="taken") == 3
        assert worker.sample("innerloop_rollout_switch_seconds_count") == 3
        assert worker.sample("innerloop_records_total", outcome="applied") == len(events)
    found = answers(consume_all, settings)
    assert_each_answered_once(found, events)
    by_user = defaultdict(list)
    for answer in found:
        if answer.model_version not in by_user[answer.user_id][-1:]:
            by_user[answer.user_id].append(answer.model_version)
    order = ["own", "other-a", "fake-b", "other-a"]
    assert all(versions[-1] == "other-a" for versions in by_user.values())
    for versions in by_user.values():  # some may have had no event under one of the models
        rest = iter(order)
        assert all(version in rest for version in versions)
    assert {answer.model_version for answer in found} == set(order)
    states = {s.user_id: s for m in consume_all(settings, Topic.USER_STATE)
              if (s := decode_state(m.value()))}  # fmt: skip
    assert {s.events_seen for s in states.values()} == {24}
    assert {s.model_version for s in states.values()} == {"other-a"}


def test_a_bundle_that_cannot_be_used_leaves_the_old_one_serving(
    simple, produce_all, consume_all, tmp_path, caplog
):
    events = visits(users=10, length=6)
    altered = fake_bundle(tmp_path / "altered")
    (tmp_path / "altered" / "manifest.json").write_text('{"version": "other", "kind": "other"}')
    broken = [
        replace(altered, version="gone", folder=str(tmp_path / "gone")),
        altered,
        fake_bundle(tmp_path / "damaged", "damaged"),
        fake_bundle(tmp_path / "nan", "numb"),
    ]
    reasons = ["has no manifest.json", "holds another bundle", "is damaged", "not finite"]
    with following(simple, FakeModel("own")) as worker:
        for n, (bundle, reason) in enumerate(zip(broken, reasons, strict=True), start=1):
            publish(simple, bundle)
            wait_until(
                lambda n=n: worker.sample("innerloop_rollout_plans_total", result="refused") == n,
                "a refusal",
            )
            assert reason in caplog.records[-1].getMessage()
            assert worker.sample("innerloop_rollout_desired_revision") == n
            assert worker.revision == 0
        produce_all(simple, Topic.CLICKSTREAM, event_records(events))
        drain(simple)
        good = publish(simple, fake_bundle(tmp_path / "good"))
        await_plan(good, worker)
    assert {r.model_version for r in answers(consume_all, simple)} == {"own"}
    # Whoever starts while the plan cannot be served begins with what it is given, or not at all.
    (tmp_path / "good" / "manifest.json").unlink()
    with following(simple, FakeModel("own")) as worker:
        assert worker.sample("innerloop_rollout_plans_total", result="refused") == 1
        assert worker.revision == 0
    with (
        pytest.raises(Exception, match=r"has no manifest\.json on this machine"),
        following(simple),
    ):
        pass


def test_a_worker_without_bundle_and_plan_says_so(simple):
    with pytest.raises(RolloutError, match=r"there is no plan .* name a bundle"), following(simple):
        pass


def test_the_arms_of_users_are_the_same_on_all_workers_and_after_restarts(
    simple, produce_all, consume_all, tmp_path
):
    events = visits(users=60, length=12, seed=7)
    quarters = [events[n : n + 180] for n in range(0, len(events), 180)]
    bundle = fake_bundle(tmp_path / "a")

    def send() -> None:
        produce_all(simple, Topic.CLICKSTREAM, event_records(quarters.pop(0)))
        drain(simple)

    with following(simple, FakeModel("own")) as first:
        plan = try_out(simple, bundle, 30)
        await_plan(plan, first)
        send()
        with following(simple, FakeModel("own")) as second:
            restored = {"result": "restored"}
            wait_until(
                lambda: second.sample("innerloop_restored_states_total", **restored) > 0, "a move"
            )
            assert second.revision == plan.revision
            send()
            assert min(w.sample("innerloop_records_total", outcome="applied")
                       for w in (first, second)) > 0  # fmt: skip
    with following(simple, FakeModel("own")) as restarted:
        send()
        more = try_out(simple, bundle, 60)
        await_plan(more, restarted)
        send()
        (info,) = restarted.service.metrics.model_info.collect()
        labels = {(s.labels["version"], s.labels["variant"]) for s in info.samples}
        assert labels == {("own", "default"), ("other-a", "candidate")}
    found = answers(consume_all, simple)
    assert_each_answered_once(found, events)
    fewer, larger = Share(plan.candidate.salt, 30), Share(plan.candidate.salt, 60)
    late = {e.event_id for e in events[540:]}
    for answer in found:
        inside = answer.user_id in (larger if answer.caused_by in late else fewer)
        expected = ("candidate", "other-a") if inside else ("default", "own")
        assert (answer.variant, answer.model_version) == expected
    assert 5 < sum(f"u{n}" in fewer for n in range(60)) < sum(f"u{n}" in larger for n in range(60))


def test_a_shadow_publishes_nothing_until_it_is_promoted(
    simple, produce_all, consume_all, tmp_path
):
    events = visits(users=20, length=12, seed=2)
    with following(simple, FakeModel("own")) as worker:
        plan = try_out(simple, fake_bundle(tmp_path / "a"), 100, CandidateMode.SHADOW)
        await_plan(plan, worker)
        produce_all(simple, Topic.CLICKSTREAM, event_records(events[:120]))
        drain(simple)
        compared = [
            sum(
                worker.sample(
                    "innerloop_rollout_prequential_events_total", variant=variant, events_seen=seen
                )
                for seen in ("0", "1", "2-4", "5-9", "10+")
            )
            for variant in ("primary", "candidate")
        ]
        assert compared[0] == compared[1] > 0
        assert worker.sample("innerloop_records_total", outcome="applied") == 120
        await_plan(change(simple, changes.promoted), worker)
        produce_all(simple, Topic.CLICKSTREAM, event_records(events[120:]))
        drain(simple)
    found = answers(consume_all, simple)
    assert_each_answered_once(found, events)
    before = {e.event_id for e in events[:120]}
    for answer in found:
        expected = "own" if answer.caused_by in before else "other-a"
        assert (answer.model_version, answer.variant) == (expected, "default")


def test_a_later_plan_takes_the_place_of_one_being_prepared(simple, tmp_path):
    """And one with the models that are served already is served at once."""
    draw = random.Random(1)
    with following(simple, FakeModel("own")) as worker:
        bundles = [fake_bundle(tmp_path / f"{n}", draw.choice(["fake", "other"])) for n in range(4)]
        for bundle in bundles:
            last = publish(simple, bundle)
        await_plan(last, worker)
        results = [worker.sample("innerloop_rollout_plans_total", result=r)
                   for r in ("taken", "superseded", "refused")]  # fmt: skip
        assert results[2] == 0 and 1 <= results[0] <= 4
        assert worker.sample("innerloop_model_info", version=bundles[-1].version, device="cpu",
                             variant="default") == 1  # fmt: skip


def test_the_first_bundle_with_an_item_memory_is_begun_with(
    settings, produce_all, consume_all, tmp_path
):
    """The worker leaves the group and comes back: the memory is there before the next event."""
    events = visits(users=20, length=12, seed=3)
    with following(settings, FakeModel("own")) as worker:
        produce_all(settings, Topic.CLICKSTREAM, event_records(events[:120]))
        drain(settings)
        assert worker.sample("innerloop_item_transitions_total", source="own") == 0
        plan = publish(settings, fake_bundle(tmp_path / "a", memory=True))
        await_plan(plan, worker)
        produce_all(settings, Topic.CLICKSTREAM, event_records(events[120:]))
        drain(settings)
        assert worker.sample("innerloop_item_transitions_total", source="own") > 0
        assert worker.sample("innerloop_rollout_plans_total", result="taken") == 1
    found = answers(consume_all, settings)
    assert_each_answered_once(found, events)
    versions = {r.caused_by: r.model_version for r in found}
    assert {versions[e.event_id] for e in events[120:]} == {"other-a"}
