"""What a client that runs on says of its connections, without saying it again and again."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from confluent_kafka import KafkaError

from schemas.kafka_refusals import is_refusal, told

_EVERY_S = 60.0


class ErrorLog:
    """A client's `error_cb`: logs each kind of error once a minute at most.

    Without one librdkafka logs every failed attempt, and to brokers that refuse it makes some
    twenty a second.

    Args:
        log: where to.
        now: a monotonic clock, seconds.
    """

    def __init__(self, log: logging.Logger, now: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._now = now
        self._lock = threading.Lock()
        self._last: dict[int, float] = {}
        self._unsaid: dict[int, int] = {}

    def __call__(self, error: KafkaError) -> None:
        """Take an error."""
        code, now = error.code(), self._now()
        with self._lock:
            if now - self._last.get(code, float("-inf")) < _EVERY_S:
                self._unsaid[code] = self._unsaid.get(code, 0) + 1
                return
            self._last[code] = now
            unsaid = self._unsaid.pop(code, 0)
        level = logging.ERROR if is_refusal(error) else logging.WARNING
        more = f"; {unsaid} more of the kind since the last" if unsaid else ""
        self._log.log(level, "%s%s", told(error), more)
