"""A collector in this process, on the embedded broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from collecting import NOW, Collector, collector_settings
from litestar.testing import TestClient

from producer.collector.app import Counted, build_app
from producer.metrics import CollectorMetrics
from schemas.settings import Settings
from worker.kafka_admin import create_topics


@pytest.fixture
def start(embedded_settings, consume_all) -> Iterator[Callable[..., Collector]]:
    """Start collectors with settings of the section `collector`."""
    create_topics(embedded_settings)
    with ExitStack() as stack:

        def make(base: Settings = embedded_settings, **changes: Any) -> Collector:
            settings = collector_settings(base, **changes)
            metrics = CollectorMetrics()
            app = build_app(settings, metrics, lambda: NOW)
            client = stack.enter_context(
                TestClient(Counted(app, metrics), base_url="http://collector.local")
            )
            return Collector(settings, app, client, metrics, consume_all)

        yield make


@pytest.fixture
def collector(start) -> Collector:
    return start()
