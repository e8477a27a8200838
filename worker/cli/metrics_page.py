"""The page of all metrics, docs/metrics.md: those of every kind of process."""

from __future__ import annotations

from producer.metrics import COLLECTOR_SPECS, OPEN_LABELS, TRACKER_SPECS
from schemas.metric_spec import described
from worker.insights.metrics import OPEN_LABELS as INSIGHTS_LABELS
from worker.insights.metrics import SPECS as INSIGHTS_SPECS
from worker.metrics_endpoint import metrics_reference
from worker.subscriber.gateway.metrics import SPECS as GATEWAY_SPECS
from worker.subscriber.redis_sink.metrics import SPECS as SINK_SPECS

_TRACKERS = """
# Metrics of trackers

What the SDK counts in the application that uses it ([docs/producer.md](producer.md)), in the
registry given to the tracker. Written from `producer/metrics.py`."""


_COLLECTOR = """
# Metrics of the collector

What `innerloop collect` serves at `http://127.0.0.1:9465/metrics` (settings `metrics.host`,
`collector.metrics_port`, `metrics.enabled`); those of a tracker, above, stand beside them."""


_INSIGHTS = """
# Metrics of insights

What `innerloop insights` serves at `http://127.0.0.1:9466/metrics` (settings `metrics.host`,
`insights.metrics_port`, `metrics.enabled`), with `/health` and `/ready` beside them. Written from
`worker/insights/metrics.py`."""

_GATEWAY = """
# Metrics of the gateway

What `innerloop gateway serve` serves at `http://127.0.0.1:9467/metrics` (settings `metrics.host`,
`gateway.metrics_port`, `metrics.enabled`). Written from `worker/subscriber/gateway/metrics.py`."""

_SINK = """
# Metrics of the sink

What `innerloop sink redis` serves at `http://127.0.0.1:9468/metrics` (settings `metrics.host`,
`sink.metrics_port`, `metrics.enabled`). Written from `worker/subscriber/redis_sink/metrics.py`."""


def metrics_page() -> str:
    """Return the content of docs/metrics.md."""
    lines = [_TRACKERS, *described(TRACKER_SPECS.values(), {})]
    lines += [_COLLECTOR, *described(COLLECTOR_SPECS.values(), OPEN_LABELS)]
    lines += [_INSIGHTS, *described(INSIGHTS_SPECS.values(), INSIGHTS_LABELS)]
    lines += [_GATEWAY, *described(GATEWAY_SPECS.values(), {})]
    lines += [_SINK, *described(SINK_SPECS.values(), {})]
    return metrics_reference() + "\n".join(lines) + "\n"
