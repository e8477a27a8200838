"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import Self

from schemas.settings import Settings
from worker.subscriber.client import RecommendationClient
from worker.subscriber.latest import Received


class AsyncRecommendationClient:
    """`RecommendationClient` for asyncio: one thread follows the topic, the loop never waits.

        async with AsyncRecommendationClient() as client:
            answer = await client.wait_for("u-7", event_id)

    Args:
        settings: see `RecommendationClient`.
        bootstrap_servers: likewise.
        minutes_back: likewise.

    Raises:
        SettingsError: a setting is wrong.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        bootstrap_servers: str | None = None,
        minutes_back: float = 0.0,
    ) -> None:
        self._client = RecommendationClient(
            settings, bootstrap_servers=bootstrap_servers, minutes_back=minutes_back
        )

    @property
    def sync(self) -> RecommendationClient:
        """The client behind it."""
        return self._client

    async def start(self) -> Self:
        """Begin to follow; see `RecommendationClient.start`."""
        await asyncio.to_thread(self._client.start)
        return self

    async def close(self) -> None:
        """Stop following. May be called again."""
        await asyncio.to_thread(self._client.close)

    async def catch_up(self, timeout: float = 60.0) -> None:
        """Wait until what was there at the start is read; see `RecommendationClient.catch_up`."""
        await asyncio.to_thread(self._client.catch_up, timeout)

    def latest(self, user_id: str) -> Received | None:
        """Return a user's latest recommendation, or None if none is known.

        Raises:
            BrokerError: the client has ended.
        """
        return self._client.latest(user_id)

    async def wait_for(
        self, user_id: str, event_id: str, timeout: float = 10.0, *, event_time: int | None = None
    ) -> Received:
        """Wait for the recommendation that an event causes; see `RecommendationClient.wait_for`.

        Raises:
            TimeoutError: no such recommendation came in time.
            BrokerError: the client has ended.
        """
        future = asyncio.wrap_future(self._client.answer_to(user_id, event_id, event_time))
        try:
            return await asyncio.wait_for(future, timeout)
        except TimeoutError:
            raise TimeoutError(
                f"no recommendation for event {event_id} within {timeout:g} s; is a worker running?"
            ) from None

    async def stream(self, user_id: str, waiting: int = 16) -> AsyncIterator[Received]:
        """Give each recommendation of a user from now on, until the caller stops.

        Args:
            user_id: whose.
            waiting: most that are kept for a caller who is slow; the oldest is dropped for one
                more.
        """
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Received] = asyncio.Queue(waiting)

        def put(received: Received) -> None:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(received)

        def listener(received: Received | None) -> None:
            if received is not None:
                with suppress(RuntimeError):  # the loop is closed: nobody listens any more
                    loop.call_soon_threadsafe(put, received)

        stop = self._client.listen(user_id, listener)
        try:
            while True:
                yield await queue.get()
        finally:
            stop()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()
