"""Every metric of publishers, the SDK's trackers and the collector. The only place naming them.

Labels take few, known values, never a user, item or event id, nor a write key.
"""

from __future__ import annotations

import enum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from schemas.clickstream import EventType
from schemas.metric_spec import MetricSpec, build, values


class Fate(enum.StrEnum):
    """What became of an event that was given to a tracker: exactly one of these, in the end."""

    DELIVERED = "delivered"
    """A broker has acknowledged it."""
    FAILED = "failed"
    """It was given up."""
    REFUSED = "refused"
    """Too many waited for the brokers, and the tracker raises then."""
    INVALID = "invalid"
    NO_CONSENT = "no_consent"
    """Not published, for the user does not agree."""


_DELIVERY_SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300,
)  # fmt: skip

TRACKER_SPECS: dict[str, MetricSpec] = {
    spec.name: spec
    for spec in (
        MetricSpec(
            "innerloop_tracker_events_total",
            Counter,
            "Events given to a tracker, by what became of them.",
            {"fate": values(Fate)},
        ),
        MetricSpec(
            "innerloop_tracker_delivered_events_total",
            Counter,
            "Events that a broker has acknowledged, by type.",
            {"type": values(EventType)},
        ),
        MetricSpec(
            "innerloop_tracker_delivery_seconds",
            Histogram,
            "From handing an event to librdkafka to its acknowledgement.",
            {},
            _DELIVERY_SECONDS,
        ),
        MetricSpec(
            "innerloop_tracker_waiting_events",
            Gauge,
            "Events handed over and not yet acknowledged, as of the scrape.",
        ),
    )
}


class TrackerMetrics:
    """The metrics of one tracker.

    Args:
        registry: where they are registered; a process has one tracker for each. None makes one.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        made = {name: build(spec, self.registry) for name, spec in TRACKER_SPECS.items()}
        events = made["innerloop_tracker_events_total"]
        delivered = made["innerloop_tracker_delivered_events_total"]
        seconds = made["innerloop_tracker_delivery_seconds"]
        waiting = made["innerloop_tracker_waiting_events"]
        assert isinstance(events, Counter) and isinstance(delivered, Counter)
        assert isinstance(seconds, Histogram) and isinstance(waiting, Gauge)
        self.fates = {fate: events.labels(fate.value) for fate in Fate}
        self.delivered = {kind: delivered.labels(kind.value) for kind in EventType}
        self.delivery_seconds = seconds
        self.waiting = waiting
