"""The collector's own payload: one canonical event, several, or one a line (NDJSON)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from producer.collector.mapping import Draft, Mapped, Received, corrected_time
from producer.collector.payload import Part
from schemas.clickstream import ClickstreamEvent

SHARED = ("user_id", "session_id", "consent")
"""Fields that may be said once for all events of a batch."""

_FIELDS = frozenset((*ClickstreamEvent.__struct_fields__, "traceparent"))


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
    # As they are: the event's own type says what is wrong with them.
    fields: dict[str, Any] = {name: value for name, value in own.items() if name in _FIELDS}
    draft = Draft(index, fields, root=event.path)
    for name in SHARED:
        if name in common and name not in own:
            draft.fields[name] = common[name]
            draft.paths[name] = shared[name].path
    time = fields.get("time")
    if "sent_at" in common and isinstance(time, int) and not isinstance(time, bool):
        fields["time"] = corrected_time(time, shared["sent_at"].count(), received.time)
    yield draft
