"""The sink on a real Redis server: what it writes, when it commits, and Redis being away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from answers import answer, publish
from gateways import wait_until
from redis_servers import PATIENCE_S, RedisServer

from schemas.errors import SettingsError, SinkError
from schemas.recommendations import Recommendation
from schemas.settings import Settings, SinkSettings
from schemas.topics import Topic
from worker.kafka_admin import consumer_lag, create_topics
from worker.subscriber.redis_sink.metrics import SinkMetrics
from worker.subscriber.redis_sink.service import RedisSink
from worker.subscriber.redis_sink.writer import RedisAwayError, RedisWriter, Write


@pytest.fixture
def server() -> Iterator[RedisServer]:
    # A socket's path has to be short.
    with TemporaryDirectory() as folder:
        started = RedisServer(Path(folder))
        started.start()
        yield started
        started.stop()


def sink_settings(settings: Settings, server: RedisServer, **changes: object) -> Settings:
    given = {"redis_url": server.url, "longest_backoff_seconds": 0.2, **changes}
    group = f"{settings.worker.group_id}-sink"
    sink = SinkSettings.model_validate({"group_id": group, **given})
    return settings.model_copy(update={"sink": sink})


class Running:
    def __init__(self, metrics: SinkMetrics) -> None:
        self._registry = metrics.registry

    def count(self, outcome: str) -> float:
        labels = {"outcome": outcome}
        return self._registry.get_sample_value("innerloop_sink_records_total", labels) or 0.0

    @property
    def failed(self) -> float:
        return self._registry.get_sample_value("innerloop_sink_failed_writes_total") or 0.0


@contextmanager
def running(settings: Settings) -> Iterator[Running]:
    metrics = SinkMetrics()
    sink = RedisSink(settings, metrics)
    with ThreadPoolExecutor(1) as thread:
        run = thread.submit(sink.run)
        try:
            yield Running(metrics)
        finally:
            sink.stop()
            run.result(PATIENCE_S)


def kept(server: RedisServer, user: str) -> Recommendation | None:
    found = server.client.hget(f"innerloop:recommendation:{user}", "message")
    return None if found is None else msgspec.json.decode(found, type=Recommendation)


def committed(settings: Settings) -> bool:
    lags = consumer_lag(settings, settings.sink.group_id, [Topic.RECOMMENDATIONS])
    return all(each.lag == 0 for each in lags)


def test_each_users_latest_is_there_with_a_time_to_live(broker_settings, server):
    create_topics(broker_settings)
    settings = sink_settings(broker_settings, server, ttl_seconds=1000)
    latest = answer("u", "e-2")
    publish(settings, answer("u", "e-1"), latest, answer("v", "e-3"), b"garbage")
    with running(settings) as sink:
        wait_until(lambda: kept(server, "u") == latest and kept(server, "v") is not None, "both")
        assert 900 < server.client.ttl("innerloop:recommendation:u") <= 1000
        wait_until(lambda: sink.count("unreadable") == 1, "the garbage")
        outcomes = ("written", "superseded", "stale", "removed", "unreadable")
        assert sum(sink.count(outcome) for outcome in outcomes) == 4
        publish(settings, "v")
        wait_until(lambda: kept(server, "v") is None, "the user removed")
    with running(settings) as sink:  # what is committed is not read again
        newest = answer("u", "e-4")
        publish(settings, newest)
        wait_until(lambda: kept(server, "u") == newest, "the newest")
        assert sum(sink.count(outcome) for outcome in outcomes) == 1


def test_read_again_nothing_changes_and_nothing_older_comes_back(embedded_settings, server):
    create_topics(embedded_settings)
    settings = sink_settings(embedded_settings, server, batch_records=2)
    answers = [answer("u", f"e-{n}") for n in range(7)]
    publish(settings, *answers)
    with running(settings):
        wait_until(lambda: kept(server, "u") == answers[-1], "the latest")
    before = server.client.hgetall("innerloop:recommendation:u")
    again = sink_settings(settings, server, batch_records=2, group_id="another-group")
    with running(again) as sink:
        wait_until(lambda: sink.count("stale") + sink.count("superseded") == 7, "all read again")
        assert sink.count("written") == 0
    assert server.client.hgetall("innerloop:recommendation:u") == before


def test_while_redis_is_away_nothing_is_committed_and_then_nothing_is_missing(
    kafka_settings, server
):
    create_topics(kafka_settings)
    settings = sink_settings(kafka_settings, server)
    with running(settings) as sink:
        publish(settings, answer("u", "e-0"))
        wait_until(lambda: kept(server, "u") is not None, "the first")
        wait_until(lambda: committed(settings), "its offset committed")
        server.stop()
        latest = {f"u-{n}": answer(f"u-{n}", f"e-{n}") for n in range(50)}
        publish(settings, *latest.values())
        wait_until(lambda: sink.failed >= 3, "some attempts")
        assert not committed(settings)
        server.start()
        wait_until(lambda: all(kept(server, user) == latest[user] for user in latest), "all")
        assert kept(server, "u").caused_by == "e-0"
        wait_until(lambda: committed(settings), "the offsets committed")


def test_a_sink_stopped_while_redis_is_away_leaves_the_records_to_the_next(kafka_settings, server):
    create_topics(kafka_settings)
    settings = sink_settings(kafka_settings, server)
    publish(settings, answer("u", "e-1"))
    server.stop()
    with running(settings) as sink:
        wait_until(lambda: sink.failed >= 1, "an attempt")
    server.start()
    assert kept(server, "u") is None
    with running(settings):
        wait_until(lambda: kept(server, "u") is not None, "written by the next")


def test_partitions_are_told_apart(server):
    settings = sink_settings(Settings(), server).sink
    writer = RedisWriter(settings)
    first, moved = answer("u", "e-1"), answer("u", "e-2")
    assert writer.write([Write("u", 0, 100, first)]) == [True]
    assert writer.write([Write("u", 0, 100, first), Write("u", 0, 9, first)]) == [False, False]
    # After partitions were added a user lies elsewhere, where offsets begin anew.
    assert writer.write([Write("u", 5, 0, moved)]) == [True]
    assert kept(server, "u") == moved
    server.stop()
    with pytest.raises(RedisAwayError):
        writer.write([Write("u", 5, 1, moved)])


def test_what_redis_refuses_for_good_is_said_without_the_password():
    with TemporaryDirectory() as folder:
        server = RedisServer(Path(folder), password="right")
        server.start()
        try:
            url = server.url.replace("right", "wrong")
            writer = RedisWriter(SinkSettings(redis_url=url))
            with pytest.raises(SinkError, match=r"sink\.redis_url") as refused:
                writer.write([Write("u", 0, 0, answer("u", "e"))])
            assert not isinstance(refused.value, RedisAwayError)
            assert "wrong" not in str(refused.value)
            right = RedisWriter(SinkSettings(redis_url=server.url))
            assert right.write([Write("u", 0, 0, answer("u", "e"))]) == [True]
        finally:
            server.stop()
    with pytest.raises(SettingsError, match=r"sink\.redis_url"):
        RedisWriter(SinkSettings(redis_url="ftp://nowhere"))
    assert "hidden" not in repr(SinkSettings(redis_url="redis://:hidden@there"))


def test_the_command_runs_until_it_is_told_to_stop(embedded_settings, server):
    create_topics(embedded_settings)
    environment = os.environ | {
        "INNERLOOP_KAFKA__TOPIC_PREFIX": embedded_settings.kafka.topic_prefix,
        "INNERLOOP_KAFKA__BOOTSTRAP_SERVERS": embedded_settings.kafka.bootstrap_servers,
        "INNERLOOP_SINK__METRICS_PORT": "0",
        "PYTHONUNBUFFERED": "1",
    }
    command = [
        *(sys.executable, "-c", "from worker.cli import main; main()", "sink", "redis"),
        *("--url", server.url),
    ]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "Sink ready\n"
        publish(embedded_settings, answer("a-user-nobody-logs", "e-1"))
        wait_until(lambda: kept(server, "a-user-nobody-logs") is not None, "it written")
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, log
        assert "nobody" not in log
    finally:
        process.kill()
        process.communicate()
