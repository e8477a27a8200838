"""Answers put off, on real Kafka: a storm costs a ranking an interval, and nothing is lost."""

from __future__ import annotations

import itertools
import random
import signal
import time
from collections import Counter

import msgspec
import pytest
from exactly_once_parts import Stream, named, with_protocol
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
from short_lives import Fate
from test_exactly_once import lives
from test_service import assert_same_answers, assert_same_states, visits
from worker_parts import event, item

from schemas.codec import decode_state
from schemas.recommendations import Recommendation
from schemas.topics import Topic

__all__ = ["lives"]

encode = msgspec.json.encode
decode_recommendation = msgspec.json.Decoder(Recommendation).decode
USERS = 20


def publish(settings, produce_all, events) -> None:
    produce_all(settings, Topic.CLICKSTREAM, [(e.user_id, encode(e)) for e in events])


def filled(settings, produce_all):
    make_topics(settings)
    produce_all(settings, Topic.CATALOG, [(f"i{n}", encode(item(n))) for n in range(40)])
    return settings


def outputs(settings, consume_all):
    answers = [
        decode_recommendation(m.value()) for m in consume_all(settings, Topic.RECOMMENDATIONS)
    ]
    states = [decode_state(m.value()) for m in consume_all(settings, Topic.USER_STATE)]
    return answers, {state.user_id: state for state in states}


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_a_click_storm_costs_one_ranking_an_interval(
    kafka_settings, produce_all, consume_all, delivery
):
    interval_ms = 2000
    settings = with_worker(kafka_settings, min_interval_ms=interval_ms, delivery=delivery)
    filled(settings, produce_all)
    events = []
    deferred = "innerloop_recommendations_deferred_total"
    with running(settings) as worker:
        begin = time.monotonic()
        for n in itertools.count():
            storm = [event("stormy", m, f"i{m % 40}") for m in range(30 * n, 30 * n + 30)]
            others = [event(f"u{n}-{m}", 0, f"i{m}") for m in range(3)]
            events += [*storm, *others]
            publish(settings, produce_all, [*storm, *others])
            if n >= 9 and worker.sample(deferred):
                break
            assert time.monotonic() < begin + PATIENCE_S, "nothing is put off"
        drain(settings)
        spent_ms = 1000 * (time.monotonic() - begin)
        timed = "innerloop_event_to_recommendation_seconds_count"
        wait_until(lambda: worker.sample(timed) == len(events), "all timed")
        assert worker.sample("innerloop_users_owed") == 0
        spared = worker.sample("innerloop_events_coalesced_total")
    answers, _ = outputs(settings, consume_all)
    assert Counter(named(answers)) == Counter(e.event_id for e in events)
    assert len(events) - spared == len(answers)
    times = [r.produced_at for r in answers if r.user_id == "stormy"]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert min(gaps) >= interval_ms - 1, gaps  # times are cut to whole milliseconds
    assert len(times) <= spent_ms / interval_ms + 2


def test_a_stop_answers_what_is_owed_and_a_warm_restart_goes_on(
    kafka_settings, produce_all, consume_all, tmp_path
):
    settings = with_worker(
        kafka_settings, min_interval_ms=3_600_000, state_folder=str(tmp_path), instance_id="one"
    )
    filled(settings, produce_all)
    with running(settings) as worker:
        for n in range(3):
            publish(settings, produce_all, [event(u, n, f"i{n}") for u in "abcdef"])
            wait_until(
                lambda n=n: worker.sample("innerloop_events_total", type="view") == 6 * (n + 1),
                "the events applied",
            )
        assert worker.sample("innerloop_users_owed") == 6
        assert not is_drained(settings)
    assert is_drained(settings)
    with running(settings) as worker:
        publish(settings, produce_all, [event(u, 3) for u in "abcdef"])
        drain(settings)
        assert worker.sample("innerloop_restored_partitions_total", source="snapshot") == 3
    answers, states = outputs(settings, consume_all)
    assert Counter(named(answers)) == Counter(f"{u}-{n}" for u in "abcdef" for n in range(4))
    assert {state.events_seen for state in states.values()} == {4}


@pytest.mark.slow
def test_killed_again_and_again_each_event_is_named_once(
    kafka_settings, make_settings, produce_all, consume_all, lives
):
    settings = with_protocol(kafka_settings, "classic")
    settings = with_worker(
        settings, min_interval_ms=150, transaction_ms=0, batch_events=16, instance_id="first"
    )
    stream = Stream(settings, make_settings, produce_all, consume_all)
    draw = random.Random(5)
    events = visits(users=USERS, length=60, seed=9)
    deaths = [
        Fate("commit_transaction", 6, after=True),
        Fate("produce", 60, after=False),
        Fate("send_offsets_to_transaction", 9, after=True),
        Fate("commit_transaction", 12, after=False),
        None,
    ]
    for life, fate in enumerate(deaths):
        stream.publish(events[200 * life : 200 * (life + 1)], draw)
        seen = len(stream.answers())
        worker = lives.start(settings, fate)
        if fate is None:  # at any time
            wait_until(lambda seen=seen: len(stream.answers()) > seen + 20, "some progress")
            worker.kill()
        worker.join(PATIENCE_S)
        assert worker.exitcode == -signal.SIGKILL, lives.log(worker)
    stream.publish(events[1000:], draw)
    last = lives.start(settings)
    newcomer = lives.start(with_worker(settings, instance_id="second"))
    wait_until(lambda: "partitions assigned" in lives.log(newcomer), "two workers")
    newcomer.terminate()
    newcomer.join(PATIENCE_S)
    wait_until(lambda: is_drained(settings) or not last.is_alive(), "the rest", 2 * PATIENCE_S)
    last.terminate()
    last.join(PATIENCE_S)
    assert last.exitcode == 0, lives.log(last)
    answers = stream.answers()
    assert len(answers) < 0.8 * len(stream.events), "hardly anything was put off: no test"
    stream.assert_exactly_once()


@pytest.mark.slow
def test_at_least_once_nothing_is_lost_when_killed(
    kafka_settings, make_settings, produce_all, consume_all, start
):
    static = {"group.instance.id": "the-only-worker"}
    settings = with_worker(kafka_settings, min_interval_ms=100, batch_events=16)
    settings = filled(with_kafka(settings, consumer_properties=static), produce_all)
    events = visits(users=USERS, length=20, seed=4)
    publish(settings, produce_all, events)
    killed = start(settings, "--die", "states", 5)
    assert killed.wait(PATIENCE_S) == -signal.SIGKILL
    last = start(settings)
    drain(settings, 2 * PATIENCE_S)
    last.terminate()
    assert last.wait(PATIENCE_S) == 0
    undisturbed = filled(with_worker(make_settings(settings.kafka.bootstrap_servers)), produce_all)
    publish(undisturbed, produce_all, events)
    with running(undisturbed):
        drain(undisturbed)
    answers, states = outputs(settings, consume_all)
    expected_answers, expected_states = outputs(undisturbed, consume_all)
    assert set(named(answers)) == {e.event_id for e in events}
    assert_same_answers(answers, expected_answers)
    assert_same_states(states, expected_states)
