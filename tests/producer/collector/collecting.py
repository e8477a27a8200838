"""A collector in the test's process, and what it published."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
from confluent_kafka import Message
from litestar import Litestar
from litestar.testing import TestClient

from producer.metrics import CollectorMetrics
from schemas.clickstream import ClickstreamEvent
from schemas.codec import build_codec
from schemas.settings import Settings
from schemas.topics import Topic
from worker.stages.decode import Decoder

KEY = "web-key-0123456789"
OTHER_KEY = "app-key-0123456789"
NOW = 1_763_800_000_000
NOWHERE = "127.0.0.1:1"
"""Nobody listens there."""


def away(settings: Settings) -> Settings:
    """Return the settings with brokers that are away."""
    kafka = settings.kafka.model_copy(update={"bootstrap_servers": NOWHERE})
    return settings.model_copy(update={"kafka": kafka})


def collector_settings(base: Settings, **changes: Any) -> Settings:
    keys = {"web": KEY, "app": OTHER_KEY}
    collector = {"write_keys": keys, "requests_per_second": 10_000, **changes}
    return base.model_copy(
        update={"collector": base.collector.model_validate({**collector})},
    )


@dataclass
class Collector:
    """A running collector, and what it published."""

    settings: Settings
    app: Litestar
    client: TestClient[Any]
    metrics: CollectorMetrics
    consume: Callable[[Settings, Topic], list[Message]]

    def post(self, path: str, payload: Any, **headers: str) -> httpx.Response:
        """Send a payload with the write key `web`."""
        given = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return self.client.post(path, content=body, headers={**given, **named})

    def send(self, path: str, payload: Any, **headers: str) -> dict[str, Any]:
        """Send a payload that is to be accepted; return the answer."""
        response = self.post(path, payload, **headers)
        assert response.status_code == 202, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def refused(self, path: str, payload: Any, **headers: str) -> dict[str, Any]:
        """Send a payload that is to be refused as wrong; return the first error."""
        response = self.post(path, payload, **headers)
        assert response.status_code == 400, response.text
        assert response.headers["content-type"] == "application/problem+json"
        error: dict[str, Any] = response.json()["errors"][0]
        return error

    def messages(self) -> list[Message]:
        """Return the records that were published, all of which a worker takes."""
        found = self.consume(self.settings, Topic.CLICKSTREAM)
        worker = Decoder(
            build_codec(self.settings.wire),
            max_bytes=self.settings.worker.max_event_bytes,
            max_future_ms=self.settings.worker.max_future_seconds * 1000,
            now_ms=lambda: NOW,
        )
        decoded = worker.decode(found)
        assert not decoded.dead_letters
        assert len(decoded.events) == len(found)
        return found

    def events(self) -> list[ClickstreamEvent]:
        """Return what was published, by the events' times."""
        decode = build_codec(self.settings.wire).decoder(ClickstreamEvent)
        return sorted((decode(m.value()) for m in self.messages()), key=lambda e: e.time)
