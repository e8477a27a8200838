"""The page of all metrics, docs/metrics.md: those of every kind of process."""

from __future__ import annotations

from producer.metrics import COLLECTOR_SPECS, OPEN_LABELS, TRACKER_SPECS
from schemas.metric_spec import described
from worker.metrics_endpoint import metrics_reference

_TRACKERS = """
# Metrics of trackers

What the SDK counts in the application that uses it ([docs/producer.md](producer.md)), in the
registry given to the tracker. Written from `producer/metrics.py`."""


_COLLECTOR = """
# Metrics of the collector

What `innerloop collect` serves at `http://127.0.0.1:9465/metrics` (settings `metrics.host`,
`collector.metrics_port`, `metrics.enabled`); those of a tracker, above, stand beside them."""


def metrics_page() -> str:
    """Return the content of docs/metrics.md."""
    lines = [_TRACKERS, *described(TRACKER_SPECS.values(), {})]
    lines += [_COLLECTOR, *described(COLLECTOR_SPECS.values(), OPEN_LABELS)]
    return metrics_reference() + "\n".join(lines) + "\n"
