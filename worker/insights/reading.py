"""Whether a partition of `recommendations` was read to its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from aiokafka.errors import IllegalStateError, KafkaError
from faust.types import TP
from faust.types.transports import ConsumerT

_LOG = logging.getLogger(__name__)


class EndCheck:
    """Tells up to what time all records of partitions were read.

    A partition is at its end if the client has fetched all there is and nothing waits in Faust's
    queue. Between the two a record may be on its way, so one look is not enough: at the second look
    in a row that finds it so, everything that was visible at the first was read.

    Args:
        queue_is_empty: whether nothing waits in the queue of the agent that reads.
        now_ms: the clock, milliseconds since the epoch.
    """

    def __init__(self, queue_is_empty: Callable[[], bool], now_ms: Callable[[], int]) -> None:
        self._queue_is_empty = queue_is_empty
        self._now_ms = now_ms
        self._first: dict[TP, int] = {}

    async def look(self, consumer: ConsumerT, partitions: Iterable[TP]) -> dict[TP, int]:
        """Return, for those at their end, the time (ms) before which all was read."""
        asked = list(partitions)
        if not asked:
            return {}
        try:
            return await self._look(consumer, asked)
        except KafkaError as error:
            if not (error.retriable or isinstance(error, IllegalStateError)):
                raise
            # Partitions have moved meanwhile, or a leader has: what was seen so far is void.
            _LOG.info("no look at the ends of partitions: %s", error)
            self._first.clear()
            return {}

    async def _look(self, consumer: ConsumerT, asked: list[TP]) -> dict[TP, int]:
        now = self._now_ms()
        ends = await consumer.highwaters(*asked)
        complete: dict[TP, int] = {}
        for tp in asked:
            position = await consumer.position(tp)
            if position is None or position < (ends.get(tp) or 0) or not self._queue_is_empty():
                self._first.pop(tp, None)
                continue
            if tp in self._first:
                complete[tp] = self._first[tp]
            self._first[tp] = now
        return complete
