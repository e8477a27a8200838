"""A worker killed at any point ends where one ends that was never killed; SIGTERM loses nothing."""

import random
import signal
from collections import Counter

import msgspec
import pytest
from running_worker import (
    PATIENCE_S,
    drain,
    is_drained,
    make_topics,
    running,
    wait_until,
    with_kafka,
    with_worker,
)
from test_service import assert_same_answers, assert_same_states, visits
from worker_parts import item

from schemas.codec import decode_state
from schemas.recommendations import Recommendation
from schemas.settings import Settings
from schemas.topics import Topic

encode = msgspec.json.encode
decode_recommendation = msgspec.json.Decoder(Recommendation).decode


@pytest.fixture
def settings(kafka_settings) -> Settings:
    # A member that was killed keeps its partitions until its session is over, unless the one that
    # follows goes by the same instance id.
    static = {"group.instance.id": "the-only-worker"}
    return with_kafka(with_worker(kafka_settings), consumer_properties=static)


@pytest.fixture(params=["all resident", "few resident"])
def users_kept(request, tmp_path) -> dict[str, object]:
    """Settings of the worker that is killed; that of the undisturbed one keeps all users ready."""
    if request.param == "all resident":
        return {}
    return {"resident_users": 50, "state_folder": str(tmp_path / "users")}


def publish(settings, produce_all, events) -> None:
    make_topics(settings)
    produce_all(settings, Topic.CATALOG, [(f"i{n}", encode(item(n))) for n in range(40)])
    produce_all(settings, Topic.CLICKSTREAM, [(e.user_id, encode(e)) for e in events])


def outputs(settings, consume_all):
    answers = [
        decode_recommendation(m.value()) for m in consume_all(settings, Topic.RECOMMENDATIONS)
    ]
    states = [decode_state(m.value()) for m in consume_all(settings, Topic.USER_STATE)]
    return answers, {state.user_id: state for state in states}


@pytest.mark.slow
def test_killed_at_every_point_it_ends_as_if_never_killed(
    settings, make_settings, produce_all, consume_all, start, *, users_kept
):
    settings = with_worker(settings, **users_kept)
    events = visits(users=120, length=25, seed=11)
    publish(settings, produce_all, events[:-50])
    draw = random.Random(2)
    for point in ("recommendations", "states", "commit", "recommendations", "states"):
        killed = start(settings, "--die", point, draw.randint(2, 5))
        assert killed.wait(PATIENCE_S) == -signal.SIGKILL, point
    anywhere = start(settings)  # and once wherever it happens to be
    partway = len(consume_all(settings, Topic.RECOMMENDATIONS)) + 300
    wait_until(lambda: len(consume_all(settings, Topic.RECOMMENDATIONS)) > partway, "some progress")
    anywhere.kill()
    anywhere.wait()
    publish(settings, produce_all, events[-50:])  # so that the last one has something to do
    last = start(settings)
    drain(settings, 2 * PATIENCE_S)
    last.terminate()
    assert last.wait(PATIENCE_S) == 0

    undisturbed = with_worker(make_settings(settings.kafka.bootstrap_servers))
    publish(undisturbed, produce_all, events)
    with running(undisturbed):
        drain(undisturbed)

    answers, states = outputs(settings, consume_all)
    expected_answers, expected_states = outputs(undisturbed, consume_all)
    assert len(answers) > len(events), "no batch was repeated: this shows nothing"
    first_copies = list({r.recommendation_id: r for r in reversed(answers)}.values())
    assert Counter(r.caused_by for r in first_copies) == Counter(e.event_id for e in events)
    assert_same_answers(answers, expected_answers)
    assert_same_answers(expected_answers, answers)
    assert_same_states(states, expected_states)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_commits(settings, produce_all, consume_all, start, number):
    events = visits(users=60, length=10, seed=3)
    publish(settings, produce_all, events[:-50])
    process = start(settings)
    wait_until(lambda: len(consume_all(settings, Topic.RECOMMENDATIONS)) > 50, "some progress")
    process.send_signal(number)
    process.send_signal(number)  # an impatient second one changes nothing
    assert process.wait(PATIENCE_S) == 0
    after = len(consume_all(settings, Topic.RECOMMENDATIONS))
    publish(settings, produce_all, events[-50:])  # so that there is a rest in any case
    second = start(settings)
    wait_until(lambda: is_drained(settings), "the rest processed")
    second.terminate()
    assert second.wait(PATIENCE_S) == 0
    answers, states = outputs(settings, consume_all)
    assert Counter(r.caused_by for r in answers) == Counter(e.event_id for e in events), (
        f"{after} answered before the signal, and some of them again: they were not committed"
    )
    assert {s.events_seen for s in states.values()} == {10}
