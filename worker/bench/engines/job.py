"""The job itself: decode, fold, adapt, rank, and make what is published. No framework in here."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from schemas.clickstream import ClickstreamEvent
from schemas.codec import JsonCodec
from schemas.settings import WorkerSettings
from worker.bench.in_process import columns, load_catalogue, load_model
from worker.bench.workload import shop_of
from worker.metrics import WorkerMetrics
from worker.outputs import RecommendationWriter
from worker.pipeline import Pipeline
from worker.state.arena import UserArena
from worker.state.records import StateRecords


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine's process is told."""

    bootstrap_servers: str
    group_id: str
    clickstream: str
    recommendations: str
    user_state: str
    partitions: int
    bundle: str
    folder: str
    """For the engine's own files."""
    batch_events: int
    batch_wait_s: float
    top_k: int
    recent_events: int
    threads: int | None

    @classmethod
    def read(cls, path: Path) -> Order:
        """Read what the benchmark wrote."""
        return msgspec.json.decode(path.read_bytes(), type=cls)


class Output(msgspec.Struct, frozen=True):
    """What is published for an event."""

    key: bytes
    answer: bytes
    state: bytes | None
    """None where a later event of the same user in the same call has it."""


class Job:
    """All users and items in memory; no item memory, no metrics endpoint.

    Args:
        order: what to serve.
    """

    def __init__(self, order: Order) -> None:
        bundle = Path(order.bundle)
        self._model = load_model(bundle)
        catalogue = load_catalogue(self._model, shop_of(bundle).items())
        settings = WorkerSettings(top_k=order.top_k, recent_events=order.recent_events)
        self._arena = UserArena(
            self._model, catalogue, recent_events=settings.recent_events, top_k=settings.top_k
        )
        self._pipeline = Pipeline(self._model, catalogue, self._arena, WorkerMetrics(), settings)
        self._writer = RecommendationWriter(
            codec=JsonCodec(),
            topic=order.recommendations,
            catalogue=catalogue,
            model_version=self._model.version,
            variant="bench",
            now_ms=lambda: time.time_ns() // 1_000_000,
        )
        self._states = StateRecords(self._arena, self._model.version)
        self._decode = msgspec.json.Decoder(ClickstreamEvent).decode
        self._offset = 0

    def process(self, values: Sequence[bytes]) -> list[Output]:
        """Take records of `clickstream` through the job; one output for each event."""
        events = [self._decode(value) for value in values]
        answers = self._pipeline.process(columns(events, self._offset))
        self._offset += len(values)
        encoded = self._states.encode(answers.changed_slots())
        last = answers.batch.last_of_user().tolist()
        states = dict(zip(last, encoded, strict=True))
        records = self._writer.records(answers)
        return [
            Output(record.key or b"", record.value or b"", states.get(i))
            for i, record in enumerate(records)
        ]
