"""The collector's own payload: one canonical event, several, or one a line (NDJSON)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from producer.collector.mapping import Draft, Mapped, Received, corrected_time
from producer.collector.payload import Part
from schemas.clickstream import ClickstreamEvent

SHARED = ("user_id", "session_id", "consent")
"""Fields that may be said once for all events of a batch."""

_FIELDS = (*ClickstreamEvent.__struct_fields__, "traceparent")


def native(payload: Part, received: Received) -> Mapped:
    """Map one event, a list of events, or `{"events": […]}` with what they share."""
    mapped = Mapped()
    if isinstance(payload.value, list):
        events, shared = payload.each(), Part({})
    elif payload["events"]:
        events, shared = payload["events"].each(), payload
    else:
        events, shared = [payload], Part({})
    for index, event in enumerate(events):
        mapped.add(index, _drafts(event, shared, index, received))
    return mapped


def _drafts(event: Part, shared: Part, index: int, received: Received) -> Iterator[Draft]:
    own, common = event.value, shared.value
    if not isinstance(own, dict):
        raise event.wrong("an object")
    assert isinstance(common, dict)
    draft = Draft(index)
    for name in _FIELDS:
        here = name in own or name not in SHARED or name not in common
        draft.paths[name] = event[name].path if here else shared[name].path
        # As it is: the event's own type says what is wrong with it.
        value: Any = own.get(name) if here else common[name]
        if value is not None or (name == "consent" and (name in own or name in common)):
            draft.fields[name] = value
    time = draft.fields.get("time")
    if isinstance(time, int) and not isinstance(time, bool):
        draft.fields["time"] = corrected_time(time, shared["sent_at"].count(), received.time)
    yield draft
