"""What the gateway answers to."""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter

from schemas.settings import Settings
from worker.subscriber.async_client import AsyncRecommendationClient
from worker.subscriber.gateway.access import Places, Readers
from worker.subscriber.gateway.documents import operation
from worker.subscriber.gateway.messages import body, message_id
from worker.subscriber.gateway.metrics import End, GatewayMetrics, Route
from worker.subscriber.gateway.problems import none_yet, unavailable
from worker.subscriber.gateway.streams import EventStream
from worker.subscriber.latest import Received
from worker.subscriber.titles import Titles

AnyRequest = Request[Any, Any, Any]

EVENTS_SUFFIX = "/events"
LATEST_PREFIX = "/v1/recommendations/"

_PRIVATE = {"Cache-Control": "private, no-cache", "Vary": "Authorization"}
_NO_STORE = {"Cache-Control": "no-store"}
_LONGEST_ID = 128

_SinceEvent = Annotated[
    str | None,
    QueryParameter(
        name="since_event",
        min_length=1,
        max_length=_LONGEST_ID,
        description="Id of an event: wait for the recommendation that it causes, or a later one.",
    ),
]
_WaitSeconds = Annotated[
    float | None,
    QueryParameter(name="wait_s", ge=0, description="The longest wait with since_event, seconds."),
]


class Shelf:
    """Gives users their recommendations.

    Args:
        settings: of the gateway.
        metrics: counted there.

    Attributes:
        client: follows the topic while the application runs.
        titles: those of the items, if they are asked for.

    Raises:
        SettingsError: nobody may read, or everybody from anywhere.
    """

    def __init__(self, settings: Settings, metrics: GatewayMetrics) -> None:
        self._settings = settings.gateway
        self._metrics = metrics
        self._readers = Readers(settings.gateway)
        self._places = Places(settings.gateway, metrics)
        self._streams: set[EventStream] = set()
        self.client: AsyncRecommendationClient | None = None
        self.titles: Titles | None = None

    def end_streams(self) -> None:
        """End all streams: the gateway stops."""
        for stream in tuple(self._streams):
            stream.end(End.STOPPED)

    def events(self, request: AnyRequest, user_id: str) -> EventStream:
        """Return the stream of a user's recommendations.

        Raises:
            Problem: there is none for this request.
        """
        until = self._readers.may_read(user_id, request.headers, request.query_params)
        client = self._following()
        give_back = self._places.take(_address(request))

        def on_end() -> None:
            self._streams.discard(stream)
            give_back()

        stream = EventStream(
            client.sync,
            user_id,
            request.headers.get("last-event-id"),
            titles=self.titles,
            metrics=self._metrics,
            waiting=self._settings.max_waiting_messages,
            heartbeat_s=self._settings.heartbeat_seconds,
            retry_ms=self._settings.retry_ms,
            until=until,
            on_end=on_end,
        )
        self._streams.add(stream)
        return stream

    async def latest(
        self, request: AnyRequest, user_id: str, since_event: str | None, wait_s: float | None
    ) -> Response[bytes]:
        """Answer with a user's latest recommendation, or with the one that an event causes.

        Raises:
            Problem: there is none for this request.
        """
        self._readers.may_read(user_id, request.headers, request.query_params)
        client = self._following()
        if since_event is None:
            found = client.latest(user_id)
            if found is None:
                raise none_yet()
        else:
            longest = self._settings.longest_wait_seconds
            wait = longest if wait_s is None else min(wait_s, longest)
            with self._places.taken(_address(request)):
                try:
                    found = await client.wait_for(user_id, since_event, wait)
                except TimeoutError:
                    return Response(b"", status_code=204, headers=_NO_STORE)
        return self._answer(request, found)

    def trouble(self) -> str:
        """Return why the gateway is not ready; "" if it is."""
        if self.client is None:
            return "starting or stopping"
        if self.client.sync.trouble is not None:
            return "the topic cannot be read"
        return "" if self.client.sync.caught_up else "reading what was there at the start"

    def _answer(self, request: AnyRequest, found: Received) -> Response[bytes]:
        tag = f'"{message_id(found)}"'
        headers = {**_PRIVATE, "ETag": tag}
        asked = request.headers.get("if-none-match", "")
        if tag in (each.strip().removeprefix("W/") for each in asked.split(",")):
            return Response(b"", status_code=304, headers=headers)
        content = body(found, self.titles)
        return Response(content, media_type="application/json", headers=headers)

    def _following(self) -> AsyncRecommendationClient:
        if self.client is None or self.client.sync.trouble is not None:
            raise unavailable("it is starting or stopping, or the topic cannot be read")
        return self.client


def handlers(shelf: Shelf) -> list[HTTPRouteHandler]:
    """Return the gateway's route handlers."""

    @get(
        f"{LATEST_PREFIX}{{user_id:str}}{EVENTS_SUFFIX}",
        operation_class=operation(Route.EVENTS),
        name=Route.EVENTS.value,
    )
    async def events(request: AnyRequest, user_id: FromPath[str]) -> EventStream:
        return shelf.events(request, user_id)

    @get(
        f"{LATEST_PREFIX}{{user_id:str}}",
        operation_class=operation(Route.LATEST),
        name=Route.LATEST.value,
    )
    async def latest(
        request: AnyRequest,
        user_id: FromPath[str],
        since_event: _SinceEvent = None,
        wait_s: _WaitSeconds = None,
    ) -> Response[bytes]:
        return await shelf.latest(request, user_id, since_event, wait_s)

    @get("/health", include_in_schema=False)
    async def health() -> dict[str, str]:
        return {"status": "alive"}

    @get("/ready", include_in_schema=False)
    async def ready() -> Response[dict[str, str]]:
        if trouble := shelf.trouble():
            raise unavailable(trouble)
        return Response({"status": "ready"}, headers=_NO_STORE)

    return [events, latest, health, ready]


def _address(request: AnyRequest) -> str:
    return request.client.host if request.client else "unknown"
