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


class Route(enum.StrEnum):
    """What a request to the collector was for."""

    EVENTS = "events"
    GA4 = "ga4"
    SEGMENT = "segment"
    SNOWPLOW = "snowplow"
    SHOPIFY = "shopify"
    OTHER = "other"
    """Health, documents, and what there is not."""


class Result(enum.StrEnum):
    """What became of an event in a request to the collector."""

    ACCEPTED = "accepted"
    """A broker has it."""
    NO_CONSENT = "no_consent"
    IGNORED = "ignored"
    """It says nothing about items, such as a vendor's page view."""
    INVALID = "invalid"
    LIMITED = "limited"
    """More than the write key may send."""
    UNDELIVERED = "undelivered"
    """The brokers did not acknowledge it in time."""


_STATUSES = (
    "200", "202", "204", "304", "400", "401", "403", "404", "405", "408", "413", "415", "429",
    "500", "503", "other",
)  # fmt: skip
_REQUEST_SECONDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
)  # fmt: skip
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


OPEN_LABELS = {"key": "a name in the setting collector.write_keys"}
"""Labels whose values are not an enumeration here, and what bounds them."""

COLLECTOR_SPECS: dict[str, MetricSpec] = {
    spec.name: spec
    for spec in (
        MetricSpec(
            "innerloop_collector_requests_total",
            Counter,
            "Requests answered, by what they were for and the status of the answer.",
            {"route": values(Route), "status": _STATUSES},
        ),
        MetricSpec(
            "innerloop_collector_request_seconds",
            Histogram,
            "From a request's first byte to its answer, which waits for the brokers.",
            {"route": values(Route)},
            _REQUEST_SECONDS,
        ),
        MetricSpec(
            "innerloop_collector_events_total",
            Counter,
            "Events in authenticated requests, after mapping, by what became of them.",
            {"route": values(Route), "result": values(Result)},
        ),
        MetricSpec(
            "innerloop_collector_key_events_total",
            Counter,
            "Events accepted, by the name of the write key.",
            {"key": ()},
        ),
        MetricSpec(
            "innerloop_collector_waiting_requests",
            Gauge,
            "Requests that wait for the brokers' acknowledgement.",
        ),
    )
}


class CollectorMetrics:
    """The metrics of the collector; those of a tracker stand beside them.

    Args:
        registry: where they are registered; None makes one.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.tracker = TrackerMetrics(self.registry)
        made = {name: build(spec, self.registry) for name, spec in COLLECTOR_SPECS.items()}
        self._requests = made["innerloop_collector_requests_total"]
        self._seconds = made["innerloop_collector_request_seconds"]
        self._events = made["innerloop_collector_events_total"]
        self._key_events = made["innerloop_collector_key_events_total"]
        waiting = made["innerloop_collector_waiting_requests"]
        assert isinstance(waiting, Gauge)
        self.waiting = waiting

    def answered(self, route: Route, status: int, seconds: float) -> None:
        """Note a request and its answer."""
        shown = str(status) if str(status) in _STATUSES else "other"
        assert isinstance(self._requests, Counter) and isinstance(self._seconds, Histogram)
        self._requests.labels(route.value, shown).inc()
        self._seconds.labels(route.value).observe(seconds)

    def events(self, route: Route, result: Result, count: int, key: str | None = None) -> None:
        """Note what became of so many events, of the write key with this name."""
        assert isinstance(self._events, Counter) and isinstance(self._key_events, Counter)
        if count:
            self._events.labels(route.value, result.value).inc(count)
            if key is not None:
                self._key_events.labels(key).inc(count)
