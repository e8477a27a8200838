"""Audit records of users whom insights have removed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

import faust

from schemas.codec import Codec
from schemas.privacy import AUDITED_BY_INSIGHTS, PrivacyAudit
from worker.insights.partition import Erasure


class Audit:
    """Writes to `privacy-audit`.

    Args:
        topic: of Faust.
        name: of the topic on the brokers.
        member: what records call this process.
        codec: the wire format.
        now_ms: the clock, milliseconds since the epoch.
    """

    def __init__(
        self,
        topic: faust.TopicT,
        name: str,
        member: str,
        codec: Codec,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._topic = topic
        self._name = name
        self._member = member
        self._codec = codec
        self._now_ms = now_ms

    async def tell(self, partition: int, erasures: Iterable[Erasure]) -> None:
        """Write a record for each that names its request; return once brokers have them.

        Args:
            partition: of the users.
            erasures: whose tables are written.

        Raises:
            KafkaError: the brokers do not take one.
        """
        sent = []
        for erasure in erasures:
            request = erasure.request
            if request is None:
                continue
            record = PrivacyAudit(
                request_id=request.request_id,
                action=request.action,
                requested_at=request.time,
                done_at=self._now_ms(),
                partition=request.partition,
                offset=request.offset,
                states_removed=int(erasure.removed),
                tombstones=int(erasure.removed),
                worker=self._member,
                part=AUDITED_BY_INSIGHTS,
            )
            value = self._codec.encode(self._name, record)
            key = request.request_id.encode()
            sent.append(self._topic.send_soon(key=key, value=value, partition=partition))
        await asyncio.gather(*sent)
