"""Every metric of the sink into Redis. The only place that names them."""

from __future__ import annotations

import enum

from prometheus_client import CollectorRegistry, Counter, Histogram

from schemas.metric_spec import MetricSpec, build, values


class Outcome(enum.StrEnum):
    """What became of a record: exactly one of these."""

    WRITTEN = "written"
    SUPERSEDED = "superseded"
    """A later one of the same user was read with it."""
    STALE = "stale"
    """Redis has it already, or a later one of the same user."""
    REMOVED = "removed"
    """It has no value, and removed its user."""
    UNREADABLE = "unreadable"
    """It is no recommendation."""


_SECONDS = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600)

SPECS: dict[str, MetricSpec] = {
    spec.name: spec
    for spec in (
        MetricSpec(
            "innerloop_sink_records_total",
            Counter,
            "Records of `recommendations` read, by what became of them.",
            {"outcome": values(Outcome)},
        ),
        MetricSpec(
            "innerloop_sink_failed_writes_total",
            Counter,
            "Attempts to write that failed and are made again.",
        ),
        MetricSpec(
            "innerloop_sink_event_to_write_seconds",
            Histogram,
            "From an event's own time to its recommendation being in Redis.",
            {},
            _SECONDS,
        ),
    )
}


class SinkMetrics:
    """The metrics of one sink.

    Args:
        registry: where they are registered; None makes one.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        made = {name: build(spec, self.registry) for name, spec in SPECS.items()}
        records = made["innerloop_sink_records_total"]
        failed = made["innerloop_sink_failed_writes_total"]
        seconds = made["innerloop_sink_event_to_write_seconds"]
        assert isinstance(records, Counter) and isinstance(failed, Counter)
        assert isinstance(seconds, Histogram)
        self.records = {outcome: records.labels(outcome.value) for outcome in Outcome}
        self.failed_writes = failed
        self.event_to_write = seconds
