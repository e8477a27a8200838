"""A flood of garbage, and what a real process says about it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
from asking import wait_until
from confluent_kafka import Producer
from redis_servers import RedisServer

from schemas.settings import Settings
from schemas.topics import Topic
from worker.broker.readiness import reserved_port
from worker.kafka_admin import create_topics

STORM = 3000
MOST = 5
USER = "a-user-nobody-logs"
UNREADABLE = 'innerloop_sink_records_total{outcome="unreadable"}'


@pytest.fixture
def storm(embedded_settings: Settings) -> Settings:
    """Settings of a topic that holds nothing but garbage."""
    create_topics(embedded_settings)
    producer = Producer(embedded_settings.kafka.producer_config())
    topic = embedded_settings.kafka.topic(Topic.RECOMMENDATIONS)
    for number in range(STORM):
        producer.produce(topic, key=USER, value=f"{{garbage {number}")
    assert producer.flush(60) == 0
    return embedded_settings


@pytest.mark.timeout(900)
def test_a_flood_of_garbage_leaves_few_lines_of_json(storm: Settings, tmp_path: Path) -> None:
    log = tmp_path / "sink.log"
    given = {
        "KAFKA__BOOTSTRAP_SERVERS": storm.kafka.bootstrap_servers,
        "KAFKA__TOPIC_PREFIX": storm.kafka.topic_prefix,
        "KAFKA__PROPERTIES__LOG_LEVEL": "0",  # librdkafka writes its own words
        "KAFKA__CONSUMER_PROPERTIES__AUTO_OFFSET_RESET": "earliest",
        "SINK__GROUP_ID": f"{storm.worker.group_id}-sink",
        "LOGGING__FORMAT": "json",
        "LOGGING__REPEATS_PER_MINUTE": str(MOST),
    }

    def unreadable() -> float:
        try:
            text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=60, trust_env=False).text
        except httpx.TransportError:
            return 0.0
        return sum(float(x.split()[-1]) for x in text.splitlines() if x.startswith(UNREADABLE))

    with TemporaryDirectory() as folder, reserved_port() as port, log.open("wb") as output:
        given["SINK__METRICS_PORT"] = str(port)
        server = RedisServer(Path(folder))  # a socket's path has to be short
        server.start()
        given["SINK__REDIS_URL"] = server.url
        process = subprocess.Popen(
            [sys.executable, "-m", "worker.cli", "sink", "redis"],
            env={**os.environ, **{f"INNERLOOP_{name}": text for name, text in given.items()}},
            stdout=subprocess.DEVNULL,
            stderr=output,
        )
        try:
            wait_until(lambda: unreadable() == STORM, "the storm read", log.read_text)
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) == 0
        finally:
            process.kill()
            process.wait()
            server.stop()
    records = [json.loads(line) for line in log.read_text().splitlines()]
    about = [record for record in records if record["event"] == "a record is no recommendation: %s"]
    # As many in each minute that the reading took.
    assert MOST <= len(about) <= 10 * MOST
    assert {record["level"] for record in about} == {"warning"}
    assert USER not in log.read_text()
