"""Every metric of the gateway. The only place that names them.

Labels take few, known values, never a user, item or event id, nor an address.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from schemas.metric_spec import MetricSpec, build, values


class Route(enum.StrEnum):
    """What a request was for."""

    EVENTS = "events"
    """A stream."""
    LATEST = "latest"
    OTHER = "other"
    """Health, the OpenAPI document, and what there is not."""


class End(enum.StrEnum):
    """Why a stream ended."""

    CLIENT = "client"
    """The client went away."""
    SLOW = "slow"
    """The client did not take what waited for it, and was cut off."""
    EXPIRED = "expired"
    """Its token was over."""
    STOPPED = "stopped"
    """The gateway stopped."""


_STATUSES = ("200", "204", "304", "400", "401", "403", "404", "405", "429", "500", "503", "other")
_SECONDS = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 60)

SPECS: dict[str, MetricSpec] = {
    spec.name: spec
    for spec in (
        MetricSpec(
            "innerloop_gateway_requests_total",
            Counter,
            "Requests answered, by what they were for and the status; a stream counts at its end.",
            {"route": values(Route), "status": _STATUSES},
        ),
        MetricSpec(
            "innerloop_gateway_open_streams",
            Gauge,
            "Streams, and requests that wait for an event's answer.",
        ),
        MetricSpec(
            "innerloop_gateway_stream_ends_total",
            Counter,
            "Streams that ended, by why.",
            {"why": values(End)},
        ),
        MetricSpec(
            "innerloop_gateway_messages_total",
            Counter,
            "Recommendations written to streams.",
        ),
        MetricSpec(
            "innerloop_gateway_event_to_message_seconds",
            Histogram,
            "From an event's own time to its recommendation being written to a stream that was "
            "open when it came.",
            {},
            _SECONDS,
        ),
        MetricSpec(
            "innerloop_gateway_users",
            Gauge,
            "Users whose latest recommendation is kept, as of the scrape.",
        ),
    )
}


class GatewayMetrics:
    """The metrics of one gateway.

    Args:
        registry: where they are registered; None makes one.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        made = {name: build(spec, self.registry) for name, spec in SPECS.items()}
        requests = made["innerloop_gateway_requests_total"]
        streams = made["innerloop_gateway_open_streams"]
        ends = made["innerloop_gateway_stream_ends_total"]
        messages = made["innerloop_gateway_messages_total"]
        seconds = made["innerloop_gateway_event_to_message_seconds"]
        users = made["innerloop_gateway_users"]
        assert isinstance(requests, Counter) and isinstance(ends, Counter)
        assert isinstance(messages, Counter) and isinstance(seconds, Histogram)
        assert isinstance(streams, Gauge) and isinstance(users, Gauge)
        self._requests = requests
        self._users = users
        self.streams = streams
        self.ends = {why: ends.labels(why.value) for why in End}
        self.messages = messages
        self.event_to_message = seconds

    def answered(self, route: Route, status: int) -> None:
        """Note an answer."""
        shown = str(status) if str(status) in _STATUSES else "other"
        self._requests.labels(route.value, shown).inc()

    def watch_users(self, count: Callable[[], int]) -> None:
        """Take the number of users from here at each scrape."""
        self._users.set_function(count)
