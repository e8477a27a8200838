"""The gateway as an ASGI application."""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar
from litestar.config.cors import CORSConfig
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from schemas.settings import Settings
from worker.subscriber.async_client import AsyncRecommendationClient
from worker.subscriber.gateway.documents import Document, security
from worker.subscriber.gateway.metrics import GatewayMetrics, Route
from worker.subscriber.gateway.problems import on_exception, on_http_exception
from worker.subscriber.gateway.routes import EVENTS_SUFFIX, LATEST_PREFIX, Shelf, handlers
from worker.subscriber.titles import Titles

_DAY_S = 86_400


def build_app(settings: Settings, shelf: Shelf, metrics: GatewayMetrics) -> Litestar:
    """Return the application. It begins to follow the topics when it starts.

    Args:
        settings: brokers, wire format, privacy, and those of the section `gateway`.
        shelf: gives the recommendations.
        metrics: counted there; requests are by `Counted` around the application.
    """

    @asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncIterator[None]:
        client = AsyncRecommendationClient(settings, minutes_back=settings.gateway.minutes_back)
        if settings.gateway.titles:
            shelf.titles = await asyncio.to_thread(Titles, settings)
        try:
            shelf.client = await client.start()
            metrics.watch_users(lambda: client.sync.users)
            yield
        finally:
            shelf.client = None
            await client.close()
            if shelf.titles is not None:
                await asyncio.to_thread(shelf.titles.close)

    return Litestar(
        handlers(shelf),
        lifespan=[lifespan],
        cors_config=CORSConfig(
            allow_origins=list(settings.gateway.allowed_origins),
            allow_methods=["GET"],
            allow_headers=["authorization", "if-none-match", "last-event-id"],
            expose_headers=["etag", "retry-after"],
            max_age=_DAY_S,
        ),
        exception_handlers={HTTPException: on_http_exception, Exception: on_exception},
        logging_config=None,
        openapi_config=OpenAPIConfig(
            title="innerloop gateway",
            version=importlib.metadata.version("innerloop"),
            description="Gives a browser its own user's recommendations.",
            path="/v1",
            render_plugins=[Document("/openapi.json")],
            components=security(),
        ),
    )


class Counted:
    """Counts the requests to an application, those that it never sees included.

    Args:
        app: called.
        metrics: counted there.
    """

    def __init__(self, app: ASGIApp, metrics: GatewayMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            self._metrics.answered(_route(scope["path"]), status)


def _route(path: str) -> Route:
    if not path.startswith(LATEST_PREFIX):
        return Route.OTHER
    return Route.EVENTS if path.endswith(EVENTS_SUFFIX) else Route.LATEST
