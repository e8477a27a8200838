"""What everybody gets of whom nothing is known: asked of the worker itself.

An impression is no evidence of liking, so the worker learns nothing from it, and answers with what
it has for somebody who has just come. So the page's unadapted shelf is the worker's own, with all
that the stream has taught it about items until now.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable

import msgspec

from schemas.errors import InnerloopError
from schemas.recommendations import Recommendation
from worker.subscriber.async_client import AsyncRecommendationClient

SHOW = Callable[[str, str], str]
"""Publishes that an item was shown to a user, by both ids; returns the event's id."""

_FRESH_S = 5.0
_PATIENCE_S = 10.0
_NOBODY = "visitor-nobody-"


class NoAnswerError(InnerloopError):
    """The worker does not answer yet, or not any more."""


class StartShelf:
    """The worker's list for a user without any history.

    Args:
        client: gets the answers.
        show: see `SHOW`.
        any_item: returns the id of an item that can be shown; None as long as there is none.
    """

    def __init__(
        self, client: AsyncRecommendationClient, show: SHOW, any_item: Callable[[], str | None]
    ) -> None:
        self._client = client
        self._show = show
        self._any_item = any_item
        self._nobody = _NOBODY + uuid.uuid4().hex
        self._one_at_a_time = asyncio.Lock()
        self._known: Recommendation | None = None
        self._known_at = 0.0

    async def document(self) -> bytes:
        """Return the list, not older than a few seconds, as JSON.

        Raises:
            NoAnswerError: the worker does not say.
        """
        async with self._one_at_a_time:
            if self._known is None or time.monotonic() - self._known_at > _FRESH_S:
                self._known = await self._ask()
                self._known_at = time.monotonic()
        return msgspec.json.encode(self._known)

    async def _ask(self) -> Recommendation:
        item = self._any_item()
        if item is None:
            raise NoAnswerError("the catalogue is not read yet, or is empty")
        event_id = await asyncio.to_thread(self._show, self._nobody, item)
        try:
            received = await self._client.wait_for(self._nobody, event_id, _PATIENCE_S)
        except TimeoutError:
            raise NoAnswerError("the worker does not answer; is it up?") from None
        return received.recommendation
