"""What happens around a worker: others come and go, brokers do not answer, clocks jump."""

import os
import random
import signal
import sys
import time
from collections import Counter

import msgspec
import pytest
import torch
from confluent_kafka import Consumer
from exactly_once_parts import Stream, with_protocol
from fake_model import FakeModel
from recording_learner import recording
from running_worker import (
    PATIENCE_S,
    RunningWorker,
    drain,
    is_drained,
    running,
    wait_until,
    with_worker,
)
from short_lives import Lives
from test_service import visits

import worker.session as session_module
from schemas.topics import Topic
from worker.micro_batch import wall_clock_ms
from worker.out_of_memory import OutOfMemoryError

USERS = 60
DAY_MS = 86_400_000


@pytest.fixture
def lives(tmp_path, monkeypatch):
    # The server that workers are forked off does not look for modules where this process does.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    lives = Lives(tmp_path)
    yield lives
    lives.end()


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_storm_of_rebalances_changes_nothing(
    kafka_settings, make_settings, produce_all, consume_all, lives, kills, protocol
):  # fmt: skip
    """Workers join, leave and are killed, several at a time, while events keep coming."""
    settings = with_worker(with_protocol(kafka_settings, protocol), transaction_ms=50)
    stream = Stream(settings, make_settings, produce_all, consume_all)
    draw = random.Random(kills.seed)
    events = visits(users=USERS, length=5 * kills.number, seed=kills.seed)
    here = []
    for wave in range(kills.number):
        stream.publish(events[300 * wave : 300 * (wave + 1)], draw)
        here += [lives.start(settings) for _ in range(draw.randint(1, 2))]
        while len(here) > 3:
            leaving = here.pop(draw.randrange(len(here)))
            (leaving.kill if draw.random() < 0.3 else leaving.terminate)()
        answered = len(stream.answers())
        wait_until(
            lambda before=answered: len(stream.answers()) > before or is_drained(settings),
            "some progress",
            2 * PATIENCE_S,
        )
    wait_until(lambda: is_drained(settings), "the end", 2 * PATIENCE_S)
    for left in here:
        # One that was started last may not listen to signals yet.
        wait_until(lambda left=left: "the catalogue has" in lives.log(left), "a worker's start")
        left.terminate()
        left.join(PATIENCE_S)
        assert left.exitcode == 0, lives.log(left)
    stream.assert_exactly_once()


@pytest.mark.slow
@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_brokers_that_do_not_answer_are_waited_for(
    private_kafka_broker, make_settings, produce_all, consume_all, silence_s, delivery
):
    """The broker's process is stopped: its connections stay, and nothing comes."""
    settings = make_settings(private_kafka_broker.bootstrap_servers)
    settings = with_worker(settings, delivery=delivery, transaction_timeout_ms=120_000)
    stream = Stream(settings, make_settings, produce_all, consume_all)
    events, draw = visits(users=USERS, length=20, seed=3), random.Random(3)
    with running(settings, item_memory=recording()) as worker:
        stream.publish(events[:600], draw)
        wait_until(lambda: worker.sample("innerloop_batch_records_count") > 1, "work")
        os.kill(private_kafka_broker.pid, signal.SIGSTOP)
        try:
            time.sleep(silence_s)  # the fault itself: there is nothing to be awaited
        finally:
            os.kill(private_kafka_broker.pid, signal.SIGCONT)
        stream.publish(events[600:], draw)
        drain(settings, 2 * PATIENCE_S)
    answers = Counter(answer.caused_by for answer in stream.answers())
    assert set(answers) == {event.event_id for event in events}
    if delivery == "exactly_once":
        stream.assert_exactly_once()


@pytest.mark.parametrize("jump_ms", [30 * DAY_MS, -30 * DAY_MS])
def test_a_clock_that_jumps_loses_nothing(
    kafka_settings, make_settings, produce_all, consume_all, monkeypatch, jump_ms
):
    ahead = [0]
    monkeypatch.setattr(session_module, "wall_clock_ms", lambda: wall_clock_ms() + ahead[0])
    settings = with_worker(kafka_settings, user_ttl_days=7)
    stream = Stream(settings, make_settings, produce_all, consume_all)
    # Before either clock's time: what lies in the future is a dead letter, as it should be.
    past = wall_clock_ms() - 60 * DAY_MS
    events = [
        msgspec.structs.replace(event, time=past + 1000 * place)
        for place, event in enumerate(visits(users=USERS, length=10, seed=5))
    ]
    with running(settings) as service:
        for place in range(0, len(events), 200):
            ahead[0] = jump_ms if place % 400 else 0
            stream.publish(events[place : place + 200], random.Random(place))
            drain(settings)
        assert service.sample("innerloop_user_moves_total", move="forgotten") == 0
        latency = "innerloop_event_to_recommendation_seconds"
        assert service.sample(f"{latency}_count") == len(events)
        assert service.sample(f"{latency}_sum") >= 0
    answers = stream.answers()
    assert Counter(a.caused_by for a in answers) == Counter(e.event_id for e in events)


class Hungry(FakeModel):
    """Asks for more memory than there is, once it has adapted to so many events."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def adapt(self, users, targets, types, gaps):
        self.left -= len(targets)
        if self.left < 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().adapt(users, targets, types, gaps)


def test_without_memory_it_ends_and_says_what_to_make_smaller(
    kafka_settings, make_settings, produce_all, consume_all
):
    settings = with_worker(kafka_settings, batch_events=32)
    stream = Stream(settings, make_settings, produce_all, consume_all)
    stream.publish(visits(users=USERS, length=10, seed=6), random.Random(6))
    worker = RunningWorker(settings, Hungry(after=200))
    worker.start()
    with pytest.raises(OutOfMemoryError, match=r"worker\.batch_events \(now 32\) or worker\.resid"):
        worker.result()
    assert len(stream.answers()) < len(stream.events)
    with running(settings):
        drain(settings)
    assert {a.caused_by for a in stream.answers()} == {e.event_id for e in stream.events}


def test_a_slow_subscriber_holds_up_nobody(kafka_settings, make_settings, produce_all, consume_all):
    stream = Stream(kafka_settings, make_settings, produce_all, consume_all)
    settings = with_worker(kafka_settings)
    slow = Consumer(settings.kafka.consumer_config("slow", **{"queued.min.messages": 1}))
    slow.subscribe([settings.kafka.topic(Topic.RECOMMENDATIONS)])
    with running(settings):
        stream.publish(visits(users=USERS, length=10, seed=7), random.Random(7))
        read = slow.consume(1, PATIENCE_S)
        drain(settings)  # while the subscriber has read one
        while len(read) < len(stream.events):
            read += slow.consume(100, 0.5)
    slow.close()
    assert Counter(msgspec.json.decode(m.value())["caused_by"] for m in read) == Counter(
        event.event_id for event in stream.events
    )
