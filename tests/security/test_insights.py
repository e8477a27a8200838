"""`innerloop insights`, whose client is not librdkafka: passwords, certificates and tokens."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
from confluent_kafka import Consumer
from secured_kafka import ADMIN
from secured_shop import PATIENCE_S, SecuredShop

from producer import Tracker
from schemas.access import Identity
from schemas.topics import Topic

pytestmark = pytest.mark.kafka

PROGRAM = (
    "import sys; from pathlib import Path; from schemas.settings import Settings; "
    "from worker.insights.service import run_insights; "
    "run_insights(Settings.model_validate_json(Path(sys.argv[1]).read_text()))"
)


def trending_is_told(shop: SecuredShop, process: subprocess.Popen[str], since: int) -> None:
    settings = shop.settings("SCRAM", shop.kafka.scram(ADMIN))
    consumer = Consumer(settings.kafka.consumer_config(f"test-{since}"))
    consumer.subscribe([settings.kafka.topic(Topic.TRENDING)])
    deadline = time.monotonic() + PATIENCE_S
    try:
        while time.monotonic() < deadline:
            assert process.poll() is None, "insights ended"
            message = consumer.poll(0.5)
            told = message is not None and message.error() is None
            if told and message.timestamp()[1] >= since:
                return
        raise AssertionError("nothing is told to be trending")
    finally:
        consumer.close()


@pytest.mark.parametrize("how", ["by_password", "by_certificate", "by_token"])
def test_it_counts_what_is_trending(shop: SecuredShop, tmp_path, how):
    settings = getattr(shop, how)(
        Identity.INSIGHTS,
        insights={
            "store": "memory",
            "folder": str(tmp_path / "tables"),
            "metrics_port": 0,
            "trending_interval_seconds": 1,
            "checkpoint_seconds": 0.5,
        },
    )
    file = tmp_path / "settings.json"
    file.write_text(settings.model_dump_json())
    since = time.time_ns() // 1_000_000
    with Tracker(shop.by_token(Identity.TRACKER)) as tracker:
        tracker.view("u-insights", "i1").wait(PATIENCE_S)
    log = tmp_path / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(file)], stdout=stream, stderr=stream
        )
    try:
        trending_is_told(shop, process, since)
    except AssertionError as error:
        raise AssertionError(f"{error}:\n{log.read_text()[-3000:]}") from None
    finally:
        process.terminate()  # leaves its group, for whoever comes next
        try:
            process.wait(PATIENCE_S)
        finally:
            process.kill()
