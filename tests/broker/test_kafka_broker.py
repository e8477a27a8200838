from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, TopicPartition

from schemas.errors import BrokerError
from schemas.settings import Settings
from schemas.topics import Topic
from worker.broker.kafka import BOOTSTRAP_VARIABLE, KafkaBroker
from worker.broker.kafka_jars import KAFKA_VERSION, POM, resolve_jars
from worker.broker.readiness import accepts_connections, free_port
from worker.kafka_admin import consumer_lag, create_topics
from worker.kafka_connection import connect
from worker.offset_queries import held_offsets


def test_it_is_no_mock(kafka_settings: Settings) -> None:
    assert not connect(kafka_settings.kafka).embedded


@pytest.mark.slow
def test_records_and_commits_outlive_a_stop_and_a_kill(
    private_kafka_broker: KafkaBroker,
    make_settings: Callable[[str], Settings],
    produce_all,
    consume_all,
) -> None:
    broker = private_kafka_broker
    settings = make_settings(broker.bootstrap_servers)
    create_topics(settings, [Topic.CLICKSTREAM])
    produce_all(settings, Topic.CLICKSTREAM, [(f"u{n}", f"a{n}") for n in range(300)])
    group = settings.worker.group_id
    assert sum(entry.lag for entry in consumer_lag(settings, group)) == 300
    commit_everything(settings, group)

    broker.restart()

    assert broker.bootstrap_servers == settings.kafka.bootstrap_servers, "same port"
    assert len(consume_all(settings, Topic.CLICKSTREAM)) == 300
    assert [entry.lag for entry in consumer_lag(settings, group)] == [0, 0, 0]
    produce_all(settings, Topic.CLICKSTREAM, [(f"u{n}", f"b{n}") for n in range(200)])

    broker.kill()
    assert not accepts_connections(int(broker.bootstrap_servers.rpartition(":")[2]))
    broker.start()

    values = {message.value() for message in consume_all(settings, Topic.CLICKSTREAM)}
    assert values == {f"a{n}".encode() for n in range(300)} | {f"b{n}".encode() for n in range(200)}
    assert sum(entry.lag for entry in consumer_lag(settings, group)) == 200


def commit_everything(settings: Settings, group: str) -> None:
    name = settings.kafka.topic(Topic.CLICKSTREAM)
    consumer = Consumer(settings.kafka.consumer_config(group))
    partitions = [TopicPartition(name, n) for n in range(settings.kafka.partitions)]
    ends = [
        TopicPartition(name, p.partition, held_offsets(consumer, name, p.partition, 60).stop)
        for p in partitions
    ]
    assert sum(p.offset for p in ends) == 300
    consumer.commit(offsets=ends, asynchronous=False)
    consumer.close()


def test_a_given_broker_is_used_and_left_alone(
    kafka_broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BOOTSTRAP_VARIABLE, kafka_broker.bootstrap_servers)
    with KafkaBroker() as given:
        assert given.external == given.bootstrap_servers == kafka_broker.bootstrap_servers
        assert given.pid is None
        assert given.running
        for refused in (given.kill, given.restart):
            with pytest.raises(BrokerError, match="is not ours"):
                refused()
    assert accepts_connections(int(kafka_broker.bootstrap_servers.rpartition(":")[2]))


def test_a_given_broker_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv(BOOTSTRAP_VARIABLE, address)
    with pytest.raises(BrokerError, match=rf"{address} \({BOOTSTRAP_VARIABLE}\) within 1 s"):
        KafkaBroker(start_timeout_s=1).start()


@pytest.mark.usefixtures("kafka_broker")  # so that it is known that a broker can run at all
def test_a_broker_that_ends_as_it_starts_shows_its_log(tmp_path: Path) -> None:
    records = tmp_path / "records"
    records.mkdir()
    (records / "meta.properties").write_text("version=1\nnode.id=77\ncluster.id=another\n")
    broker = KafkaBroker(tmp_path, reuse=False)

    with pytest.raises(BrokerError, match="ended with status 1") as caught:
        broker.start()

    assert "node id" in str(caught.value), "the reason, from the end of the log"
    assert str(broker.log_file) in str(caught.value)
    assert broker.pid is None


@pytest.mark.usefixtures("kafka_broker")
def test_a_port_in_use_is_named() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(BrokerError, match=rf"port {port} of 127\.0\.0\.1 is in use"):
            KafkaBroker(port=port, reuse=False).start()


def test_missing_java_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(BrokerError, match=r"no `java` on PATH.*KAFKA_BOOTSTRAP"):
        KafkaBroker(reuse=False).start()


def test_missing_maven_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(BrokerError, match="no `mvn` on PATH"):
        resolve_jars()


def test_jars_in_the_cache_need_no_maven(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "innerloop" / f"kafka-{KAFKA_VERSION}"
    folder.mkdir(parents=True)
    assert resolve_jars() == folder


@pytest.mark.skipif(shutil.which("mvn") is None, reason="Maven is not installed")
def test_maven_refusing_leaves_no_half_filled_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(BrokerError, match=r"cannot resolve the jars of Kafka 4\.999\.0"):
        resolve_jars("4.999.0")
    assert list((tmp_path / "innerloop").iterdir()) == []


@pytest.mark.parametrize("version", ["3.9.1", "4.1", "latest", "../4.1.1"])
def test_a_wrong_version_is_refused(version: str) -> None:
    with pytest.raises(BrokerError, match="not of the form 4"):
        resolve_jars(version)


def test_the_pom_has_the_version_that_is_pinned() -> None:
    assert f"<kafka.version>{KAFKA_VERSION}</kafka.version>" in POM.read_text()


@pytest.mark.parametrize(("ci", "outcome"), [("true", "error"), ("", "skipped")])
def test_without_java_kafka_tests_fail_in_ci_and_skip_elsewhere(
    ci: str, outcome: str, tmp_path: Path
) -> None:
    hidden = {"JAVA_HOME", BOOTSTRAP_VARIABLE, "CI"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"PATH": str(tmp_path), "CI": ci}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            f"{__file__}::test_it_is_no_mock",
        ],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
    )
    assert f"1 {outcome}" in done.stdout
    assert "there is no `java` on PATH" in done.stdout, "the reason is visible"
    assert done.returncode == (1 if ci else 0)
