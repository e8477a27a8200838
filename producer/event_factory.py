"""Clickstream events from loose fields: ids and times made, ids hashed, everything checked."""

from __future__ import annotations

import difflib
import re
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from schemas.clickstream import ClickstreamEvent
from schemas.documents.docstrings import attribute_docs
from schemas.errors import EventError
from schemas.pseudonyms import pseudonymiser
from schemas.settings import Settings

FIELDS = frozenset(ClickstreamEvent.__struct_fields__)
"""Names of an event's fields."""

_MEANING = attribute_docs(ClickstreamEvent)
_AT_FIELD = re.compile(r"(?P<what>.*) - at `\$\.(?P<field>\w+)[^`]*`", re.DOTALL)
_NAMED_FIELD = re.compile(r"(?:required field|the field) `(?P<field>\w+)`")
_EARLIEST_MS = 100_000_000_000
"""Milliseconds in March 1973: what is below was most likely given in seconds."""


class EventFactory:
    """Makes events as they are published: checked, and with pseudonymous user ids if asked for.

    What a worker would put on the dead-letter topic is refused here: with as many bytes or as far
    in the future as the settings worker.max_event_bytes and worker.max_future_seconds do not allow.

    Args:
        settings: privacy (with `user_id_key`, user ids are hashed) and the worker's limits.
        now_ms: the clock, milliseconds; also the time of events that have none.
    """

    def __init__(self, settings: Settings, now_ms: Callable[[], int] | None = None) -> None:
        self._pseudonym = pseudonymiser(settings.privacy)
        self._max_bytes = settings.worker.max_event_bytes
        self._max_future_ms = settings.worker.max_future_seconds * 1000
        self._now_ms = now_ms or (lambda: time.time_ns() // 1_000_000)

    def make(self, fields: Mapping[str, Any], *, strict: bool = True) -> ClickstreamEvent:
        """Return the event with these fields.

        Args:
            fields: by name; None is as not given, but for `consent`. `time` may be an aware
                datetime; without it, it is now. Without `event_id` one is made.
            strict: refuse names that no event has; else they are ignored, as on the topic.

        Raises:
            EventError: a field is missing, wrong or unknown; the message names it.
        """
        # Except `consent`, for which no answer is not the same as the default, yes.
        values = {
            name: value for name, value in fields.items() if value is not None or name == "consent"
        }
        if strict and not values.keys() <= FIELDS:
            raise unknown_field(min(values.keys() - FIELDS))
        if "event_id" not in values:
            values["event_id"] = uuid.uuid4().hex
        values["time"] = self._time(values.get("time"))
        price = values.get("price")
        if isinstance(price, Decimal):
            values["price"] = float(price)
        try:
            event = msgspec.convert(values, ClickstreamEvent)
        except msgspec.ValidationError as error:
            raise event_error(error) from None
        _check_text(event)
        if event.time > (latest := self._now_ms() + self._max_future_ms):
            raise EventError(
                f"time: {event.time} is too far in the future; the latest allowed now is {latest} "
                "(setting worker.max_future_seconds)",
                "time",
            )
        if self._pseudonym is None:
            return event
        return msgspec.structs.replace(event, user_id=self._pseudonym(event.user_id))

    def check_size(self, value: bytes) -> bytes:
        """Return an encoded event as it is.

        Raises:
            EventError: it is larger than workers take.
        """
        if len(value) > self._max_bytes:
            raise EventError(
                f"the event has {len(value)} bytes, and no more than {self._max_bytes} are taken "
                "(setting worker.max_event_bytes); shorten its text"
            )
        return value

    def _time(self, given: object) -> object:
        if given is None:
            return self._now_ms()
        if isinstance(given, datetime):
            if given.tzinfo is None:
                raise EventError(
                    "time: this datetime has no time zone, so it is no point in time; right would "
                    "be datetime.now(UTC), or milliseconds since 1970",
                    "time",
                )
            return round(given.timestamp() * 1000)
        if isinstance(given, int) and 0 < given < _EARLIEST_MS:
            raise EventError(
                f"time: {given} looks like seconds; it has to be milliseconds since 1970", "time"
            )
        return given


def event_error(error: msgspec.ValidationError) -> EventError:
    """Return, for what msgspec says of an event, an error that begins with the field's name."""
    text = str(error)
    at = _AT_FIELD.fullmatch(text)
    if at is None:
        named = _NAMED_FIELD.search(text)
        field = named["field"] if named else ""
        return EventError(f"{field}: {text}" if field else text, field)
    field = at["field"]
    meaning = _MEANING.get(field, "").rstrip(".")
    return EventError(f"{field}: {at['what']}" + (f" ({meaning})" if meaning else ""), field)


def unknown_field(name: str) -> EventError:
    """Return the error for a field that no event has."""
    close = difflib.get_close_matches(name, FIELDS, n=1)
    guess = f" (did you mean {close[0]}?)" if close else ""
    known = ", ".join(ClickstreamEvent.__struct_fields__)
    return EventError(f"{name}: is no field of an event{guess}; there are: {known}", name)


def _check_text(event: ClickstreamEvent) -> None:
    """Refuse what has no UTF-8: half of a surrogate pair, which JSON can write and bytes cannot."""
    for name in ("event_id", "user_id", "item_id", "session_id", "query", "text", "surface"):
        value = getattr(event, name)
        if value is not None and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise EventError(
                    f"{name}: is no text: half of a surrogate pair at character {error.start}",
                    name,
                ) from None
