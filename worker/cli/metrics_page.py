"""The page of all metrics, docs/metrics.md: those of every kind of process."""

from __future__ import annotations

from producer.metrics import TRACKER_SPECS
from schemas.metric_spec import described
from worker.metrics_endpoint import metrics_reference

_TRACKERS = """
# Metrics of trackers

What the SDK counts in the application that uses it ([docs/producer.md](producer.md)), in the
registry given to the tracker. Written from `producer/metrics.py`."""


def metrics_page() -> str:
    """Return the content of docs/metrics.md."""
    lines = [_TRACKERS, *described(TRACKER_SPECS.values(), {})]
    return metrics_reference() + "\n".join(lines) + "\n"
