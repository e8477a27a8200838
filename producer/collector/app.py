"""The collector as an ASGI application."""

from __future__ import annotations

import importlib.metadata
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from producer.collector.access import KEY_HEADER
from producer.collector.documents import Document, security
from producer.collector.intake import Intake
from producer.collector.problems import on_exception, on_http_exception
from producer.collector.routes import PATHS, Door, handlers
from producer.metrics import CollectorMetrics, Route
from schemas.errors import SettingsError
from schemas.settings import Settings
from schemas.trace_context import TRACEPARENT, TRACESTATE

_LOG = logging.getLogger(__name__)
_ROUTES = {path: route for route, path in PATHS.items()}
_SEGMENTS_LIBRARIES = PATHS[Route.SEGMENT] + "/"
_DAY_S = 86_400

ENDED = "ended"
"""In the application's state: a function that returns why it can publish nothing any more; "" while
it can."""
_TRACE_HEADERS = (TRACEPARENT, TRACESTATE)


def build_app(
    settings: Settings,
    metrics: CollectorMetrics | None = None,
    now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
) -> Litestar:
    """Return the application. It connects to the brokers when it starts.

    Args:
        settings: brokers, wire format, privacy, and those of the section `collector`.
        metrics: counted there; requests are by `Counted` around the application.
        now_ms: the clock, milliseconds.

    Raises:
        SettingsError: there is no write key.
    """
    if not settings.collector.write_keys:
        raise SettingsError(
            "collector.write_keys is empty, and nobody may write without a key; right would be "
            "INNERLOOP_COLLECTOR__WRITE_KEYS__WEB=… with 16 random characters or more"
        )
    metrics = metrics or CollectorMetrics()
    door = Door(settings, metrics, now_ms)

    @asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncIterator[None]:
        door.intake = intake = Intake(settings, metrics, now_ms)
        try:
            yield
        finally:
            # The server lets no request begin any more, and has waited for those under way.
            if lost := await intake.close():
                _LOG.warning("%d events were not acknowledged, and none of them accepted", lost)

    def ended() -> str:
        return "" if door.intake is None else door.intake.ended

    return Litestar(
        handlers(door),
        lifespan=[lifespan],
        state=State({ENDED: ended}),
        cors_config=CORSConfig(
            allow_origins=list(settings.collector.allowed_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["content-type", "authorization", KEY_HEADER, *_TRACE_HEADERS],
            expose_headers=["retry-after"],
            max_age=_DAY_S,
        ),
        exception_handlers={HTTPException: on_http_exception, Exception: on_exception},
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title="innerloop collector",
            version=importlib.metadata.version("innerloop"),
            description="Publishes what users of a storefront do to Kafka. An answer 202 says that "
            "the brokers have acknowledged every event.",
            path="/v1",
            render_plugins=[Document("/openapi.json")],
            components=security(),
        ),
        request_max_body_size=settings.collector.max_body_bytes,
    )


class Counted:
    """Counts the requests to an application, those that it never sees included.

    Args:
        app: called.
        metrics: counted there.
    """

    def __init__(self, app: ASGIApp, metrics: CollectorMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        begin = time.perf_counter()
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            path = scope["path"]
            route = _ROUTES.get(path, Route.OTHER)
            if path.startswith(_SEGMENTS_LIBRARIES):
                route = Route.SEGMENT
            self._metrics.answered(route, status, time.perf_counter() - begin)
