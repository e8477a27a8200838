"""Recommendations as they come, decoded; for one thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import cast

from schemas.codec import DECODE_ERRORS, build_codec, decode_error
from schemas.errors import RegistryError
from schemas.recommendations import Recommendation
from schemas.settings import Settings
from schemas.topics import Topic
from schemas.trace_context import RecordHeaders, trace_context
from worker.subscriber.latest import Received
from worker.topic_follower import TopicFollower

_LOG = logging.getLogger(__name__)
_MOST_AT_ONCE = 1000
_MINUTE_MS = 60_000


class RecommendationReader:
    """Follows the topic `recommendations` and decodes what comes.

    Args:
        settings: brokers, wire format, those of the section `subscriber`.
        minutes_back: how far back to begin; 0 begins now.

    Attributes:
        unreadable: records that were no recommendations; they are skipped.

    Raises:
        BrokerError: the brokers do not answer, or do not have the topic.
        SettingsError: a setting is wrong.
    """

    def __init__(self, settings: Settings, minutes_back: float = 0.0) -> None:
        self.unreadable = 0
        self._decode = build_codec(settings.wire).decoder(Recommendation)
        since = int(now_ms() - minutes_back * _MINUTE_MS) if minutes_back else None
        self._follower = TopicFollower(
            settings.kafka, Topic.RECOMMENDATIONS, since, settings.subscriber.refresh_seconds
        )

    @property
    def caught_up(self) -> bool:
        """Whether all that was there at the start is read."""
        return self._follower.caught_up

    def read(
        self, wait_s: float, pause: Callable[[float], object] = time.sleep
    ) -> Iterator[Received | str]:
        """Give recommendations, and for a record without a value the id of the user removed.

        Args:
            wait_s: the longest wait for the first, seconds.
            pause: called with seconds to wait before the schema registry is asked again; what it
                returns, if true, ends the reading.

        Raises:
            BrokerError: the brokers refuse to be read, for good.
        """
        for message in self._follower.read(_MOST_AT_ONCE, wait_s):
            value, key = message.value(), message.key()
            if value is None:
                if key is not None:
                    yield key.decode("utf-8", "replace") if isinstance(key, bytes) else key
                continue
            # Those read together were received together, as far as anybody could tell.
            received_at = now_ms()
            decoded = self._decoded(value if isinstance(value, bytes) else value.encode(), pause)
            if decoded is not None:
                headers = cast("RecordHeaders | None", message.headers())
                yield Received(decoded, received_at, trace_context(headers))

    def close(self) -> None:
        """Close the consumer."""
        self._follower.close()

    def _decoded(self, value: bytes, pause: Callable[[float], object]) -> Recommendation | None:
        while True:
            try:
                return self._decode(value)
            except RegistryError as error:
                _LOG.warning("asking the schema registry again in a second: %s", error)
                if pause(1.0):
                    return None
            except DECODE_ERRORS as error:
                self.unreadable += 1
                _LOG.warning("a record is no recommendation: %s", decode_error(error, value))
                return None


def now_ms() -> int:
    """Return the time, epoch milliseconds."""
    return time.time_ns() // 1_000_000
