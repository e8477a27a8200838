"""With transactions a subscriber sees each event's effect once, whatever happens to workers."""

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from exactly_once_parts import EXACTLY_ONCE, Stream, with_protocol
from fake_model import FakeModel
from running_worker import (
    PATIENCE_S,
    drain,
    is_drained,
    make_topics,
    running,
    wait_until,
    with_worker,
)
from short_lives import Fate, Lives, drawn
from test_service import visits

from schemas.errors import SettingsError
from schemas.settings import Settings
from schemas.topics import Topic
from worker.service import WorkerService

USERS = 60
EVENTS_A_LIFE = 300


@pytest.fixture
def lives(tmp_path, monkeypatch):
    # The server that workers are forked off does not look for modules where this process does.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    lives = Lives(tmp_path)
    yield lives
    lives.end()


@pytest.fixture(params=["classic", "consumer"])
def stream(request, kafka_settings, make_settings, produce_all, consume_all) -> Stream:
    """A stream to be processed exactly once, with either group protocol."""
    settings = with_protocol(kafka_settings, request.param)
    return Stream(settings, make_settings, produce_all, consume_all)


def the_first(settings: Settings) -> Settings:
    """With an instance id the next life gets its partitions at once.

    Not so with the new protocol: there the id is refused until the session of its last bearer ends.
    """
    static = "group.protocol" not in settings.kafka.consumer_properties
    return with_worker(settings, instance_id="first") if static else settings


def one_life(stream: Stream, lives: Lives, draw: random.Random, *, company: bool) -> str:
    """Have a worker live and be killed; return how it died."""
    changes = {"transaction_ms": draw.choice((0, 100))}
    fate = drawn(draw) if draw.random() < 0.75 else None
    worker = lives.start(with_worker(the_first(stream.settings), **changes), fate)
    if company:
        second = lives.start(with_worker(stream.settings, **changes))
        wait_until(
            lambda: "partitions assigned" in lives.log(second) or not worker.is_alive(),
            "two workers",
        )
        draw.choice((second.terminate, second.kill))()
    if fate is None:
        time.sleep(draw.uniform(0.0, 3.0))
        worker.kill()
    wait_until(lambda: not worker.is_alive() or is_drained(stream.settings), "a death, or the end")
    died = "at any time" if fate is None or worker.is_alive() else f"at {fate.call}"
    worker.kill()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL, lives.log(worker)
    return died


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_again_and_again_each_event_is_answered_once(stream, lives, kills):
    """Kills are at calls of the producer, or at any time; a second worker comes and goes."""
    draw = random.Random(kills.seed)
    length = EVENTS_A_LIFE // USERS * kills.number
    events = visits(users=USERS, length=length, seed=kills.seed)
    deaths: Counter[str] = Counter()
    for life in range(kills.number):
        stream.publish(events[EVENTS_A_LIFE * life : EVENTS_A_LIFE * (life + 1)], draw)
        deaths[one_life(stream, lives, draw, company=life % 3 == 1)] += 1
    last = lives.start(the_first(stream.settings))
    wait_until(
        lambda: is_drained(stream.settings) or not last.is_alive(), "the rest", 2 * PATIENCE_S
    )
    last.terminate()
    last.join(PATIENCE_S)
    assert last.exitcode == 0, lives.log(last)
    print(f"{len(events)} events, killed {dict(deaths)}")
    stream.assert_exactly_once()


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"


AWAY = {
    # Its transaction times out meanwhile, offsets included: the producer is fenced, for good.
    "in a transaction": Fate("send_offsets_to_transaction", 3, after=True, how=signal.SIGSTOP),
    # There is none to time out, so the group alone tells that its partitions are someone else's.
    "before one": Fate("begin_transaction", 3, after=False, how=signal.SIGSTOP),
}


@pytest.mark.slow
@pytest.mark.parametrize("where", AWAY)
def test_a_worker_that_was_away_too_long_changes_nothing(stream, lives, where):
    stream.publish(visits(users=USERS, length=12, seed=8), random.Random(3))
    zombie = lives.start(with_worker(stream.settings, transaction_ms=0), AWAY[where])
    wait_until(lambda: is_stopped(zombie.pid), "the worker stopped")
    assert 0 < len(stream.answers()) < len(stream.events)
    heir = lives.start(stream.settings)
    wait_until(lambda: is_drained(stream.settings), "all taken over", 2 * PATIENCE_S)
    os.kill(zombie.pid, signal.SIGCONT)
    if where == "in a transaction":
        zombie.join(PATIENCE_S)
        assert zombie.exitcode == 2
        assert "FencedError" in lives.log(zombie)
    else:
        wait_until(lambda: "beginning anew" in lives.log(zombie), "its transaction refused")
        zombie.terminate()
        zombie.join(PATIENCE_S)
        assert zombie.exitcode == 0, lives.log(zombie)
    heir.terminate()
    heir.join(PATIENCE_S)
    assert heir.exitcode == 0, lives.log(heir)
    stream.assert_exactly_once()


def test_transactions_are_counted_and_partitions_change_hands(stream):
    """Two workers at once, and one leaves: the transaction is over before partitions go."""
    pieces = [visits(users=USERS, length=n, seed=5)[-300:] for n in (5, 10, 15)]
    draw = random.Random(1)
    with running(stream.settings) as first:
        stream.publish(pieces[0], draw)
        drain(stream.settings)
        with running(stream.settings) as second:
            stream.publish(pieces[1], draw)
            restored = {"result": "restored"}
            wait_until(
                lambda: second.sample("innerloop_restored_states_total", **restored) > 0, "a move"
            )
            stream.publish(pieces[2], draw)
            drain(stream.settings)
        workers = (first, second)
        assert min(w.sample("innerloop_transactions_total", end="committed") for w in workers) > 0
        timed = "innerloop_event_to_recommendation_seconds_count"
        assert sum(worker.sample(timed) for worker in workers) == len(stream.events)
    assert len(stream.answers()) == len(stream.events)


def test_a_dead_letter_too_large_for_its_topic_loses_its_value_and_nothing_else(
    kafka_settings, make_settings, produce_all, consume_all
):
    settings = with_protocol(kafka_settings, "classic")
    make_topics(settings, {Topic.DEAD_LETTERS: {"max.message.bytes": "20000"}})
    stream = Stream(settings, make_settings, produce_all, consume_all)
    events = visits(users=5, length=4)
    huge, fitting = os.urandom(200_000), os.urandom(12_000)
    stream.publish(events, random.Random(0))
    letters = [("u", huge), ("u", fitting), ("u", fitting), ("v", huge)]
    produce_all(settings, Topic.CLICKSTREAM, letters)
    with running(settings) as worker:
        wait_until(lambda: is_drained(settings), "all processed")
        assert worker.sample("innerloop_transactions_total", end="aborted") >= 1
    assert Counter(r.caused_by for r in stream.answers()) == Counter(e.event_id for e in events)
    values = [m.value() for m in consume_all(settings, Topic.DEAD_LETTERS)]
    garbage = [m.value() for m in stream.sent if m.value() == b"garbage"]
    assert Counter(values) == Counter([*garbage, fitting, fitting, None, None])


def test_the_embedded_broker_is_refused(embedded_settings):
    settings = with_worker(embedded_settings, **EXACTLY_ONCE)
    with pytest.raises(SettingsError, match=r"worker\.delivery is exactly_once, and the embedded"):
        WorkerService(settings, FakeModel()).run()


@pytest.mark.slow
def test_brokers_that_die_and_come_back_change_nothing(
    private_kafka_broker, make_settings, produce_all, consume_all, lives
):
    """The worker goes on, or ends by itself and is started again, as its supervisor would do."""
    settings = with_protocol(make_settings(private_kafka_broker.bootstrap_servers), "classic")
    settings = with_worker(settings, instance_id="only", transaction_ms=0)
    stream = Stream(settings, make_settings, produce_all, consume_all)
    draw = random.Random(4)
    worker = lives.start(settings)

    def supervised(condition: Callable[[], bool]) -> bool:
        nonlocal worker
        if not worker.is_alive():
            assert worker.exitcode == 2, lives.log(worker)
            worker = lives.start(settings)
        return condition()

    def some_progress() -> bool:
        return len(stream.answers()) > len(stream.events) - 250

    for piece in range(3):
        events = visits(users=USERS, length=5 * (piece + 1), seed=2)[-EVENTS_A_LIFE:]
        stream.publish(events, draw)
        wait_until(lambda: supervised(some_progress), "some progress")
        private_kafka_broker.kill()
        private_kafka_broker.restart()
    wait_until(lambda: supervised(lambda: is_drained(settings)), "the end", 2 * PATIENCE_S)
    worker.terminate()
    worker.join(PATIENCE_S)
    assert worker.exitcode == 0, lives.log(worker)
    stream.assert_exactly_once()
