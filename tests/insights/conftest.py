"""What the tests of insights share: processes of it, and what the topics hold."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from schemas.insights import RecommendationOutcome, Trending
from schemas.settings import Settings
from schemas.topics import InsightsTopic, Topic
from worker.insights.indicators import Sums
from worker.insights.parts import decode_key
from worker.insights.totals import Totals
from worker.insights.trends import Decay
from worker.kafka_admin import consumer_lag, create_topics

PROGRAM = Path(__file__).with_name("insights_process.py")
WAIT_S = 120.0


class InsightsRun:
    """Processes of `innerloop insights` one after the other, and the topics that they write."""

    def __init__(self, settings: Settings, folder: Path, consume_all) -> None:
        self.settings = settings
        self._file = folder / "settings.json"
        self._file.write_text(settings.model_dump_json())
        self._log = folder / "insights.log"
        self._consume_all = consume_all
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str, member: str | None = None) -> subprocess.Popen[bytes]:
        """Start a process; `member` makes it another one, with an id and tables of its own."""
        file = self._file
        if member is not None:
            content = json.loads(file.read_text())
            content["kafka"]["consumer_properties"]["group.instance.id"] = member
            content["insights"]["folder"] += f"-{member}"
            content["insights"]["metrics_port"] = 0
            file = file.with_name(f"{member}.json")
            file.write_text(json.dumps(content))
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, str(PROGRAM), str(file), *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._running.append(process)
        return process

    def close(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()

    @property
    def log(self) -> str:
        return self._log.read_text()

    def eventually(self, holds: Callable[[], bool], what: str, wait_s: float = WAIT_S) -> None:
        """Wait until something holds; a process that ended meanwhile is a failure."""
        deadline = time.monotonic() + wait_s
        while not holds():
            self._check_running()
            assert time.monotonic() < deadline, f"not in time: {what}\n{self.log[-3000:]}"
            time.sleep(0.3)

    def comes_to(
        self, number: Callable[[], object], wanted: object, wait_s: float = WAIT_S
    ) -> None:
        """Wait until something is as wanted; if it does not come to that, show how it differs."""
        deadline = time.monotonic() + wait_s
        while (found := number()) != wanted and time.monotonic() < deadline:
            self._check_running()
            time.sleep(0.3)
        assert found == wanted, self.log[-2000:]

    def _check_running(self) -> None:
        ended = [p.returncode for p in self._running if p.poll() not in (None, -9)]
        assert not ended, f"a process ended with {ended}:\n{self.log[-8000:]}"

    def outcomes(self) -> list[RecommendationOutcome]:
        """All records of the topic, copies included."""
        decode = msgspec.json.Decoder(RecommendationOutcome).decode
        return [decode(m.value()) for m in self._consume_all(self.settings, Topic.OUTCOMES)]

    def sums(self) -> dict[str, Sums]:
        """What the partitions say together, by variant."""
        return self._totals().by_variant()

    def trending(self) -> dict[str, Trending]:
        """The latest message of each surface."""
        decode = msgspec.json.Decoder(Trending).decode
        messages = self._consume_all(self.settings, Topic.TRENDING)
        return {m.key().decode(): decode(m.value()) for m in messages}

    def parts_told(self) -> int:
        """How often partitions have told their indicators."""
        messages = self._consume_all(self.settings, InsightsTopic.PARTS)
        return sum(decode_key(m.key()).surface is None for m in messages)

    def lags(self) -> list[int]:
        """By partition of both sources, the offsets that the group has not committed."""
        sources = (Topic.CLICKSTREAM, Topic.RECOMMENDATIONS)
        group = self.settings.insights.group_id
        return [p.lag for p in consumer_lag(self.settings, group, sources)]

    def _totals(self) -> Totals:
        insights = self.settings.insights
        totals = Totals(
            Decay(insights.trending_half_life_seconds * 1000, insights.trending_capacity),
            sample_rate=insights.sample_rate,
            drift_delta=insights.drift_delta,
            days=insights.indicator_days,
        )
        for message in self._consume_all(self.settings, InsightsTopic.PARTS):
            totals.replace(decode_key(message.key()), message.value())
        return totals


@pytest.fixture
def insights_settings(kafka_settings: Settings, tmp_path: Path) -> Settings:
    """Quick to notice, and with a member of the group that comes back at once."""
    group = kafka_settings.worker.group_id.replace("worker", "insights")
    kafka = kafka_settings.kafka
    settings = kafka_settings.model_copy(
        update={
            "kafka": kafka.model_copy(
                update={
                    "consumer_properties": {
                        **kafka.consumer_properties,
                        "group.instance.id": "insights-1",
                    }
                }
            ),
            "insights": kafka_settings.insights.model_copy(
                update={
                    "group_id": group,
                    "folder": tmp_path / "tables",
                    "recommendations_per_user": 64,
                    "join_wait_seconds": 1.0,
                    "checkpoint_seconds": 0.2,
                    "trending_interval_seconds": 0.5,
                    "metrics_port": 0,
                }
            ),
        }
    )
    create_topics(
        settings, (Topic.CLICKSTREAM, Topic.RECOMMENDATIONS, Topic.OUTCOMES, Topic.TRENDING)
    )
    return settings


@pytest.fixture
def insights_run(tmp_path: Path, consume_all) -> Iterator[Callable[[Settings], InsightsRun]]:
    """Make a run; its processes are gone after the test."""
    made: list[InsightsRun] = []

    def make(settings: Settings) -> InsightsRun:
        made.append(InsightsRun(settings, tmp_path, consume_all))
        return made[-1]

    yield make
    for run in made:
        run.close()
