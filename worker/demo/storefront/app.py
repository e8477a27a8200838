"""The storefront as an ASGI application: the page, its goods, its visitors."""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.static_files import create_static_files_router

from schemas.errors import InnerloopError
from worker.demo.storefront.goods import Goods
from worker.demo.storefront.guests import Guest, Guests
from worker.demo.storefront.start_shelf import StartShelf
from worker.subscriber.async_client import AsyncRecommendationClient
from worker.subscriber.tokens import TokenError

PAGE = Path(__file__).with_name("page")

AnyRequest = Request[Any, Any, Any]

_CATALOGUE_WAIT_S = 10.0
_NO_STORE = {"Cache-Control": "no-store"}


@dataclass(frozen=True)
class Addresses:
    """What the page talks to."""

    collector: str
    """Origin of the collector, such as http://127.0.0.1:8480."""
    gateway: str
    """Origin of the gateway."""
    write_key: str
    """Sent with the events; whoever opens the page can see it."""


@dataclass(frozen=True)
class Shop:
    """What the routes are made of."""

    addresses: Addresses
    guests: Guests
    goods: Goods
    start: StartShelf
    erase: Callable[[str], str]
    """Asks for a user's erasure on the user's behalf; returns the request's id."""


def build_app(shop: Shop, client: AsyncRecommendationClient) -> Litestar:
    """Return the application; it begins to follow the topic `recommendations` when it starts."""

    @asynccontextmanager
    async def lifespan(_app: Litestar) -> AsyncIterator[None]:
        await client.start()
        try:
            yield
        finally:
            await client.close()

    files = create_static_files_router(path="/page", directories=[PAGE], include_in_schema=False)
    return Litestar(
        [*_handlers(shop), files],
        lifespan=[lifespan],
        openapi_config=None,
        logging_config=None,
        response_headers=_headers(shop.addresses),
    )


def page(addresses: Addresses) -> str:
    """Return the page, with its addresses filled in."""
    template = Template((PAGE / "index.html").read_text(encoding="utf-8"))
    return template.substitute(
        collector=html.escape(addresses.collector),
        gateway=html.escape(addresses.gateway),
        write_key=html.escape(addresses.write_key),
    )


def _handlers(shop: Shop) -> list[HTTPRouteHandler]:
    whole = page(shop.addresses)

    @get("/", media_type=MediaType.HTML)
    async def index() -> str:
        return whole

    @get("/api/goods")
    async def goods() -> Response[bytes]:
        if not await asyncio.to_thread(shop.goods.wait, _CATALOGUE_WAIT_S):
            return _trouble(503, "the catalogue is being read")
        return _json(shop.goods.document())

    @get("/api/start")
    async def start() -> Response[Any]:
        try:
            return _json(await shop.start.document())
        except InnerloopError as error:
            return _trouble(503, str(error))

    @post("/api/visitor", status_code=200)
    async def visitor(request: AnyRequest) -> Guest:
        return shop.guests.enter(_token(request))

    @post("/api/erase", status_code=202)
    async def erase(request: AnyRequest) -> Response[Any]:
        try:
            user_id = shop.guests.who(_token(request))
        except TokenError as error:
            return _trouble(401, str(error))
        try:
            request_id = await asyncio.to_thread(shop.erase, user_id)
        except InnerloopError as error:
            return _trouble(503, str(error))
        return Response({"request_id": request_id}, status_code=202, headers=_NO_STORE)

    @get("/health")
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    return [index, goods, start, visitor, erase, health]


def _token(request: AnyRequest) -> str | None:
    # In a header, which no page of another origin can send: so nobody else's page erases anybody.
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _json(content: bytes) -> Response[bytes]:
    return Response(content, media_type=MediaType.JSON, headers=_NO_STORE)


def _trouble(status: int, detail: str) -> Response[Any]:
    return Response({"status": status, "detail": detail}, status_code=status, headers=_NO_STORE)


def _headers(addresses: Addresses) -> dict[str, str]:
    """Return headers that keep the page to its own files, the collector and the gateway."""
    policy = {
        "default-src": "'none'",
        "script-src": f"'self' {addresses.collector}",
        "style-src": "'self'",
        "img-src": "data:",
        "connect-src": f"'self' {addresses.collector} {addresses.gateway}",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }
