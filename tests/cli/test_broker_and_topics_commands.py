from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka.admin import NewTopic
from typer.testing import CliRunner

from schemas.settings import Settings
from schemas.topics import TOPIC_SPECS, Topic
from worker.broker.kafka import BOOTSTRAP_VARIABLE
from worker.broker.readiness import accepts_connections, free_port
from worker.cli.app import app
from worker.kafka_admin import create_topics
from worker.kafka_connection import connect

INNERLOOP = [sys.executable, "-c", "from worker.cli.app import main; main()"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run a command in this process, with a test's settings in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run_command(settings: Settings, *arguments: str):
        kafka = settings.kafka
        environment = {
            "INNERLOOP_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "INNERLOOP_KAFKA__TOPIC_PREFIX": kafka.topic_prefix,
        }
        return CliRunner().invoke(app, arguments, env=environment, catch_exceptions=False)

    return run_command


@contextmanager
def foreground(*arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """Run a broker command as a process of its own until it says where it is."""
    inherited = {k: v for k, v in os.environ.items() if k != BOOTSTRAP_VARIABLE}
    with subprocess.Popen(
        [*INNERLOOP, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=inherited | environment,
    ) as process:
        guard = threading.Timer(120, process.kill)
        guard.start()
        try:
            assert process.stdout is not None
            said = ""
            for line in process.stdout:
                said += line
                if found := re.search(r"export INNERLOOP_KAFKA__BOOTSTRAP_SERVERS=(\S+)", line):
                    yield process, found[1]
                    return
            pytest.fail(f"it ended and never said where it is:\n{said}")
        finally:
            guard.cancel()
            process.kill()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_embedded_broker_runs_until_it_is_told_to_stop(how: signal.Signals) -> None:
    with foreground("broker", "embedded") as (process, address):
        settings = Settings.model_validate({"kafka": {"bootstrap_servers": address}})
        assert connect(settings.kafka).embedded

        process.send_signal(how)

        assert process.wait(120) == 0
    assert not accepts_connections(int(address.rpartition(":")[2]))


@pytest.mark.usefixtures("kafka_broker")  # so that it is known that a broker can run at all
@pytest.mark.slow
def test_a_kafka_broker_keeps_its_data_between_runs(tmp_path: Path, make_settings) -> None:
    port = free_port()
    flags = ("broker", "kafka", "--port", str(port), "--data", str(tmp_path / "data"))
    settings = make_settings(f"127.0.0.1:{port}")
    for expected in ("created", "exists"):
        with foreground(*flags) as (process, address):
            assert address == settings.kafka.bootstrap_servers
            states = create_topics(settings, [Topic.CATALOG])
            assert [state.created for state in states] == [expected == "created"]

            process.send_signal(signal.SIGTERM)

            assert process.wait(120) == 0
        assert not accepts_connections(port)


def test_a_given_kafka_broker_is_only_announced(kafka_broker) -> None:
    address = kafka_broker.bootstrap_servers
    with foreground("broker", "kafka", KAFKA_BOOTSTRAP=address) as (process, said):
        assert said == address
        assert process.stdout is not None
        assert "none was started" in process.stdout.read()
        assert process.wait(120) == 0


def test_topics_on_the_embedded_broker(embedded_settings: Settings, run) -> None:
    before = run(embedded_settings, "topics", "list")
    created = run(embedded_settings, "topics", "create")
    after = run(embedded_settings, "topics", "list")

    assert [result.exit_code for result in (before, created, after)] == [0, 0, 0]
    for topic in TOPIC_SPECS:
        name = re.escape(embedded_settings.kafka.topic(topic))
        assert re.search(rf"{name} .* missing", before.stdout)
        assert re.search(rf"{name} .* 4 .* created", created.stdout)
        assert re.search(rf"{name} .* 4 .* exists", after.stdout)
    assert "policies are not applied" in created.stdout


def test_topics_on_kafka_end_with_status_1_where_they_differ(kafka_settings: Settings, run) -> None:
    name = kafka_settings.kafka.topic(Topic.CATALOG)
    cluster = connect(kafka_settings.kafka)
    cluster.client.create_topics([NewTopic(name, 2, 1)])[name].result()

    created = run(kafka_settings, "topics", "create", "--partitions", "6")

    assert created.exit_code == 1
    assert "Nothing was altered" in created.stderr
    assert re.search(rf"{re.escape(name)} .* differs: partitions is 2, should be 1", created.stdout)
    user_state = re.escape(kafka_settings.kafka.topic(Topic.USER_STATE))
    assert re.search(
        rf"{user_state} +user_id +6 +1 +cleanup.policy=compact +created", created.stdout
    )


def test_lag_command(broker_settings: Settings, run, produce_all) -> None:
    create_topics(broker_settings)
    produce_all(broker_settings, Topic.CLICKSTREAM, [(f"u{n}", "{}") for n in range(30)])
    produce_all(broker_settings, Topic.CATALOG, [("i", "{}")])
    group = ("--group", broker_settings.worker.group_id)

    assert "total lag: 30" in run(broker_settings, "topics", "lag", *group).stdout
    both = ("--topic", "clickstream", "--topic", "catalog")
    assert "total lag: 31" in run(broker_settings, "topics", "lag", *group, *both).stdout


def test_an_unreachable_broker_is_one_line_and_status_2(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    done = subprocess.run(
        [*INNERLOOP, "topics", "list", "--bootstrap-servers", address],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert address in done.stderr
