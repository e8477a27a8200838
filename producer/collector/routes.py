"""What the collector answers to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.exceptions import InternalServerException
from litestar.handlers import HTTPRouteHandler

from producer.collector.access import KEY_MEMBERS, Limits, Origins, WriteKeys, key_in_request
from producer.collector.adapters.ga4 import ga4
from producer.collector.adapters.native import native
from producer.collector.adapters.segment import segment
from producer.collector.adapters.shopify import shopify
from producer.collector.adapters.snowplow import snowplow
from producer.collector.body import read
from producer.collector.documents import operation
from producer.collector.intake import Intake
from producer.collector.mapping import Adapter, Mapped, Received
from producer.collector.payload import Part, PayloadError
from producer.collector.problems import (
    forbidden_origin,
    invalid,
    malformed,
    problem,
    too_many,
    unauthorized,
    unavailable,
)
from producer.metrics import CollectorMetrics, Result, Route
from schemas.errors import BrokerError, QueueFullError
from schemas.settings import Settings
from schemas.trace_context import (
    TRACEPARENT,
    TRACESTATE,
    TraceContext,
    is_traceparent,
    usable_tracestate,
)

_LOG = logging.getLogger(__name__)
_NO_STORE = {"Cache-Control": "no-store"}
_SNIPPET = Path(__file__).with_name("snippet.js").read_text(encoding="utf-8")
_SNIPPET_HEADERS = {
    "Cache-Control": "public, max-age=3600",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
_RETRY_AFTER_S = 5

AnyRequest = Request[Any, Any, Any]

PATHS: dict[Route, str] = {
    Route.EVENTS: "/v1/events",
    Route.GA4: "/v1/ga4",
    Route.SEGMENT: "/v1/segment",
    Route.SNOWPLOW: "/v1/snowplow",
    Route.SHOPIFY: "/v1/shopify",
}
ADAPTERS: dict[Route, Adapter] = {
    Route.EVENTS: native,
    Route.GA4: ga4,
    Route.SEGMENT: segment,
    Route.SNOWPLOW: snowplow,
    Route.SHOPIFY: shopify,
}


class Accepted(msgspec.Struct):
    """What became of a request whose events a broker has."""

    accepted: int
    """Events published and acknowledged."""
    without_consent: int
    """Events not published, for the user does not agree."""
    ignored: int
    """Events that say nothing about items."""
    event_ids: list[str]
    """Of the events accepted, in order; recommendations name them as `caused_by`."""


class Door:
    """Takes requests with events: who may, what is in them, published, answered.

    Args:
        settings: of the collector.
        metrics: counted there.
        now_ms: the clock, milliseconds.
    """

    def __init__(
        self, settings: Settings, metrics: CollectorMetrics, now_ms: Callable[[], int]
    ) -> None:
        collector = settings.collector
        secret = settings.privacy.user_id_key
        self.intake: Intake | None = None
        """There while the application runs."""
        self._secret = secret.get_secret_value().encode() if secret else b""
        self._settings = collector
        self._keys = WriteKeys(collector)
        self._origins = Origins(collector)
        self._limits = Limits(collector)
        self._metrics = metrics
        self._now_ms = now_ms

    async def take(self, request: AnyRequest, route: Route) -> Response[Accepted]:
        """Answer a request with events.

        Raises:
            Problem: it is not accepted; nothing was published, unless its status is 503.
        """
        headers = request.headers
        address = request.client.host if request.client else "unknown"
        if wait := self._limits.request(address):
            raise too_many("this address sends too many requests", wait)
        if not self._origins.may_send(headers.get("origin"), headers.get("host")):
            raise forbidden_origin()
        presented = key_in_request(headers, request.query_params)
        key = self._key(presented) if presented is not None else None
        body = await _body(request, self._settings.body_seconds)
        media, encoding = headers.get("content-type", ""), headers.get("content-encoding", "")
        payload = read(body, media, encoding, lines=route is Route.EVENTS)
        key = key or self._key_in_body(payload)
        mapped = self._mapped(payload, route)
        if headers.get("sec-gpc") == "1" and self._settings.honour_gpc:
            for draft in mapped.drafts:
                draft.fields["consent"] = False
        accepted = await self._publish(mapped, route, key, _trace(request))
        return Response(accepted, status_code=202, headers=_NO_STORE)

    def _key(self, presented: str | None) -> str:
        name = None if presented is None else self._keys.name_of(presented)
        if name is None:
            raise unauthorized()
        return name

    def _key_in_body(self, payload: Part) -> str:
        if not isinstance(payload.value, dict):
            raise unauthorized()
        found = (payload.value.get(name) for name in KEY_MEMBERS)
        return self._key(next((key for key in found if isinstance(key, str)), None))

    def _mapped(self, payload: Part, route: Route) -> Mapped:
        received = Received(self._settings, self._now_ms(), self._secret)
        try:
            mapped = ADAPTERS[route](payload, received)
        except PayloadError as error:
            raise invalid([error]) from None
        if not (mapped.drafts or mapped.errors or mapped.ignored):
            raise invalid([PayloadError("", "there is no event in it")])
        most = self._settings.max_batch_events
        if len(mapped.drafts) > most:
            raise problem(
                413,
                "too-many-events",
                "Too many events for one request",
                f"{len(mapped.drafts)} events; send {most} at most (collector.max_batch_events)",
            )
        return mapped

    async def _publish(
        self, mapped: Mapped, route: Route, key: str, trace: TraceContext | None
    ) -> Accepted:
        intake, count = self.intake, self._metrics.events
        if intake is None:
            raise unavailable("the collector is starting or stopping", _RETRY_AFTER_S)
        prepared, errors, without_consent = await intake.prepare(mapped.drafts, key, trace)
        errors = sorted([*mapped.errors, *errors], key=lambda error: error.index or 0)
        if errors:
            count(route, Result.INVALID, len(errors))
            raise invalid(errors)
        if wait := self._limits.events(key, len(prepared)) if prepared else 0:
            count(route, Result.LIMITED, len(prepared))
            raise too_many(f"the write key {key} sends too many events", wait)
        try:
            await intake.publish(prepared)
        except BrokerError as error:
            count(route, Result.UNDELIVERED, len(prepared))
            full = isinstance(error, QueueFullError)
            why = "too many wait already" if full else "some events may have been published"
            raise unavailable(why, _RETRY_AFTER_S) from None
        count(route, Result.ACCEPTED, len(prepared), key)
        count(route, Result.NO_CONSENT, without_consent)
        count(route, Result.IGNORED, mapped.ignored)
        ids = [each.event.event_id for each in prepared]
        return Accepted(len(prepared), without_consent, mapped.ignored, ids)


def _trace(request: AnyRequest) -> TraceContext | None:
    """Return the trace that the request belongs to."""
    traceparent = request.headers.get(TRACEPARENT, "")
    if not is_traceparent(traceparent):
        return None
    states = request.headers.getall(TRACESTATE, [])
    return TraceContext(traceparent, usable_tracestate(",".join(states)))


async def _body(request: AnyRequest, within_s: float) -> bytes:
    try:
        async with asyncio.timeout(within_s):
            return await request.body()
    except TimeoutError:
        raise problem(408, "slow-body", "The body did not come in time") from None
    except InternalServerException:  # whoever sent it has hung up
        raise malformed("the body ended before its end") from None


def handlers(door: Door) -> list[HTTPRouteHandler]:
    """Return the collector's route handlers."""
    return [*(_events(door, route) for route in PATHS), _segments_libraries(door), *_others(door)]


def _events(door: Door, route: Route) -> HTTPRouteHandler:
    @post(PATHS[route], status_code=202, operation_class=operation(route), name=route.value)
    async def take(request: AnyRequest) -> Response[Accepted]:
        return await door.take(request, route)

    return take


def _segments_libraries(door: Door) -> HTTPRouteHandler:
    """Return the handler of what Segment's libraries add to the address that they are given."""

    @post(PATHS[Route.SEGMENT] + "/{added:path}", status_code=202, include_in_schema=False)
    async def take(request: AnyRequest) -> Response[Accepted]:
        return await door.take(request, Route.SEGMENT)

    return take


def _others(door: Door) -> list[HTTPRouteHandler]:
    @get("/v1/snippet.js", media_type="text/javascript", include_in_schema=False)
    async def snippet() -> Response[str]:
        return Response(_SNIPPET, media_type="text/javascript", headers=_SNIPPET_HEADERS)

    @get("/health", include_in_schema=False)
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    @get("/ready", include_in_schema=False)
    async def ready() -> Response[dict[str, str]]:
        trouble = "starting or stopping" if door.intake is None else await door.intake.trouble()
        if trouble:
            _LOG.warning("not ready: %s", trouble)
            raise unavailable("the brokers, or the topic, are away", _RETRY_AFTER_S)
        return Response({"status": "ready"}, headers=_NO_STORE)

    return [snippet, health, ready]
