"""The log of processes that run on: for people or for machines, and bounded in a storm.

An event's name is its message as the code has it, before values are put in: "reading %s: %s". It
stays the same from record to record, so that records can be counted and found by it. No message has
a user's id among its values.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from schemas.settings import LoggingSettings

_MINUTE_S = 60.0
_MOST_EVENTS = 1000
"""Names remembered at once: libraries may put values into names."""
_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def set_up_logging(settings: LoggingSettings, *, verbose: bool = False) -> None:
    """Write the log of this process to standard error.

    Args:
        settings: how.
        verbose: log everything, and leave out nothing.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if settings.format == "json" else TextLines(_TEXT))
    if settings.repeats_per_minute and not verbose:
        handler.addFilter(Repeats(settings.repeats_per_minute))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])


@dataclass
class _Seen:
    since: float
    passed: int = 0
    left_out: int = 0


class Repeats(logging.Filter):
    """Lets so many records of one event pass in a minute; tells the next how many it did not.

    Args:
        most: in a minute.
        clock: monotonic, seconds.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._most = most
        self._clock = clock
        self._events: dict[tuple[str, str], _Seen] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is to be written."""
        now = self._clock()
        key = record.name, str(record.msg)
        if key not in self._events and len(self._events) >= _MOST_EVENTS:
            self._events.clear()
        seen = self._events.setdefault(key, _Seen(now))
        if now - seen.since >= _MINUTE_S:
            record.left_out = seen.left_out
            seen = self._events[key] = _Seen(now)
        seen.passed += 1
        passes = seen.passed <= self._most
        seen.left_out += not passes
        return passes


class TextLines(logging.Formatter):
    """For people."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """Return the line, with how many like it were left out."""
        line = super().formatMessage(record)
        left_out = _left_out(record)
        return f"{line} ({left_out:,} more like it were left out)" if left_out else line


class JsonLines(logging.Formatter):
    """For machines: `time`, `level`, `logger`, `event`, `message`; perhaps `left_out`, `error`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a line of JSON."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields: dict[str, str | int] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": str(record.msg),
            "message": record.getMessage(),
        }
        if left_out := _left_out(record):
            fields["left_out"] = left_out
        if record.exc_info:
            fields["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(fields).decode()


def _left_out(record: logging.LogRecord) -> int:
    return int(getattr(record, "left_out", 0))
