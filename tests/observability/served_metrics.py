"""What each kind of process declares, and serves."""

from __future__ import annotations

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from producer.metrics import COLLECTOR_SPECS, TRACKER_SPECS, CollectorMetrics
from producer.metrics import OPEN_LABELS as COLLECTOR_LABELS
from schemas.metric_spec import MetricSpec, with_process
from worker.insights.metrics import OPEN_LABELS as INSIGHTS_LABELS
from worker.insights.metrics import SPECS as INSIGHTS_SPECS
from worker.insights.metrics import InsightsMetrics
from worker.metrics import OPEN_LABELS as WORKER_LABELS
from worker.metrics import SPECS as WORKER_SPECS
from worker.metrics import WorkerMetrics
from worker.subscriber.gateway.metrics import SPECS as GATEWAY_SPECS
from worker.subscriber.gateway.metrics import GatewayMetrics
from worker.subscriber.redis_sink.metrics import SPECS as SINK_SPECS
from worker.subscriber.redis_sink.metrics import SinkMetrics

SPECS: dict[str, dict[str, MetricSpec]] = {
    "worker": WORKER_SPECS,
    "collector": {**COLLECTOR_SPECS, **TRACKER_SPECS},
    "insights": INSIGHTS_SPECS,
    "gateway": GATEWAY_SPECS,
    "sink": SINK_SPECS,
}
OPEN_LABELS = {**WORKER_LABELS, **COLLECTOR_LABELS, **INSIGHTS_LABELS}
MADE = {
    "worker": WorkerMetrics,
    "collector": CollectorMetrics,
    "insights": InsightsMetrics,
    "gateway": GatewayMetrics,
    "sink": SinkMetrics,
}


def registry(process: str) -> CollectorRegistry:
    """Return what a process of this kind serves when it has just begun."""
    return with_process(MADE[process]().registry)


@cache
def served_names() -> set[str]:
    """Return the names of all series that any process serves."""
    suffixes = {Counter: ("",), Gauge: ("",), Histogram: ("_bucket", "_sum", "_count")}
    names = {
        spec.name + suffix
        for specs in SPECS.values()
        for spec in specs.values()
        for suffix in suffixes[spec.kind]
    }
    for family in registry("worker").collect():
        if family.name.startswith("process_"):
            names |= {sample.name for sample in family.samples}
    return names
