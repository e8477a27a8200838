"""A stream of Server-Sent Events to one browser."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from litestar.types import Receive, Scope, Send

from worker.subscriber.client import RecommendationClient
from worker.subscriber.gateway.messages import ERASED, HEARTBEAT, event, message_id
from worker.subscriber.gateway.metrics import End, GatewayMetrics
from worker.subscriber.latest import Received
from worker.subscriber.titles import Titles

ABORT = "innerloop.abort"
"""Of a request's `extensions`: a function that cuts its connection off at once."""

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would keep the messages back
]


class EventStream:
    """An ASGI application that streams a user's recommendations until one side has enough.

    What waits for the browser is bounded: when `waiting` messages do, the connection is cut off.
    To be made and called in the event loop's thread.

    Args:
        client: followed.
        user_id: whose recommendations.
        known: id of the message that the browser had last, so that it does not get it again.
        titles: for the items' titles.
        metrics: counted there.
        waiting: most messages that wait for the browser.
        heartbeat_s: a comment is sent after so many seconds without a message.
        retry_ms: told the browser: how long to wait before it comes again.
        until: the stream ends then, epoch seconds.
        on_end: called once, whatever happens, when the stream has been called.
    """

    def __init__(
        self,
        client: RecommendationClient,
        user_id: str,
        known: str | None,
        *,
        titles: Titles | None,
        metrics: GatewayMetrics,
        waiting: int,
        heartbeat_s: float,
        retry_ms: int,
        until: float,
        on_end: Callable[[], None],
    ) -> None:
        self._client = client
        self._user_id = user_id
        self._known = known
        self._titles = titles
        self._metrics = metrics
        self._heartbeat_s = heartbeat_s
        self._retry_ms = retry_ms
        self._until = until
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Received | None] = asyncio.Queue(waiting)
        self._ending: asyncio.Future[End] = self._loop.create_future()
        self._abort: Callable[[], None] = lambda: None

    def end(self, why: End) -> None:
        """End the stream."""
        if not self._ending.done():
            self._ending.set_result(why)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream."""
        extensions: dict[str, Any] = scope.get("extensions") or {}
        self._abort = extensions.get(ABORT, self._abort)
        # Before the latest is looked up: nothing may fall between the two.
        stop_listening = self._client.listen(self._user_id, self._listener)
        tasks = (
            asyncio.ensure_future(self._write(send)),
            asyncio.ensure_future(_disconnected(receive)),
        )
        try:
            any_of: set[asyncio.Future[Any]] = {*tasks, self._ending}
            await asyncio.wait(any_of, return_when=asyncio.FIRST_COMPLETED)
            if tasks[0].done():
                tasks[0].result()
            why = self._why(disconnected=tasks[1].done())
            self._metrics.ends[why].inc()
        finally:
            stop_listening()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._on_end()
        if why in (End.EXPIRED, End.STOPPED):
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _why(self, *, disconnected: bool) -> End:
        if self._ending.done():
            return self._ending.result()
        return End.CLIENT if disconnected else End.EXPIRED

    async def _write(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await _chunk(send, b"retry: %d\n\n" % self._retry_ms)
        latest = self._client.latest(self._user_id)
        if latest is not None and message_id(latest) != self._known:
            await self._message(send, latest)
        while (left := self._until - time.time()) > 0:
            try:
                found = await asyncio.wait_for(self._queue.get(), min(self._heartbeat_s, left))
            except TimeoutError:
                await _chunk(send, HEARTBEAT)
                continue
            if found is None:
                await _chunk(send, ERASED)
            elif found != latest:
                await self._message(send, found)
                seconds = time.time() - found.recommendation.event_time / 1000
                self._metrics.event_to_message.observe(max(0.0, seconds))

    async def _message(self, send: Send, received: Received) -> None:
        await _chunk(send, event(received, self._titles))
        self._metrics.messages.inc()

    def _listener(self, received: Received | None) -> None:
        with suppress(RuntimeError):  # the loop is closed: the gateway has ended
            self._loop.call_soon_threadsafe(self._offer, received)

    def _offer(self, received: Received | None) -> None:
        if self._ending.done():
            return
        try:
            self._queue.put_nowait(received)
        except asyncio.QueueFull:
            # The writer waits for the browser; closing would wait for it, too.
            self.end(End.SLOW)
            self._abort()


async def _chunk(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
