"""Metrics of the process: whether it is well, and how far it is."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from schemas.metric_spec import MetricSpec, values
from worker.metrics.labels import Rebalance, SpanFate, TracedRecord, TransactionEnd

PROCESS_SPECS = (
    MetricSpec(
        "innerloop_ready",
        Gauge,
        "1 if the worker processes all events that it should, as /ready says; 0 while it reads "
        "the catalogue or users' states, or is stuck.",
    ),
    MetricSpec(
        "innerloop_loop_round_timestamp_seconds",
        Gauge,
        "When the worker's loop last came round, Unix time; 0 while it starts. A healthy one "
        "comes round several times a second, with events or without.",
    ),
    MetricSpec(
        "innerloop_consumer_lag_records",
        Gauge,
        "Records of `clickstream` not yet processed, as of the latest fetch.",
        {"partition": ()},
    ),
    MetricSpec(
        "innerloop_commit_failures_total",
        Counter,
        "Commits that failed because the group is rebalancing. They are tried again, or the "
        "partition's next owner reads the records again and recognises them.",
    ),
    MetricSpec(
        "innerloop_transactions_total",
        Counter,
        "Transactions, where worker.delivery is exactly_once. What an aborted one held is "
        "produced again in another, by this worker or by the partitions' next owner.",
        {"end": values(TransactionEnd)},
    ),
    MetricSpec(
        "innerloop_rebalanced_partitions_total",
        Counter,
        "Partitions that came or went.",
        {"how": values(Rebalance)},
    ),
    MetricSpec(
        "innerloop_traced_records_total",
        Counter,
        "Records of `clickstream` that are traced, where tracing.enabled is on; that are not, as "
        "more than tracing.events_per_second are sampled; and those whose traceparent is none.",
        {"result": values(TracedRecord)},
    ),
    MetricSpec(
        "innerloop_trace_spans_total",
        Counter,
        "Spans sent to tracing.endpoint, lost as it did not take them, and dropped as too many "
        "were waiting.",
        {"fate": values(SpanFate)},
    ),
)
