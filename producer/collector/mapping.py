"""What an adapter makes of a payload: events to be, and what is wrong with it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from producer.collector.payload import Part, PayloadError
from schemas.clickstream import EventType
from schemas.settings.storefront import CollectorSettings

_LONGEST_ID = 128
_CLOCK_SKEW_MS = 5000
"""A sender's clock that is further off than this, its delay included, is corrected."""


@dataclass
class Draft:
    """An event to be, unchecked."""

    index: int
    """Of the payload's event that it comes from."""
    fields: dict[str, Any] = field(default_factory=dict)
    """By the names of `ClickstreamEvent`; `traceparent` may be among them."""
    paths: dict[str, str] = field(default_factory=dict)
    """Field → where in the payload it is from."""
    root: str = ""
    """Where fields are from that `paths` does not hold."""

    def path(self, name: str) -> str:
        """Return where in the payload a field is from, or would be; "" for no field."""
        if name in self.paths or not (self.root and name):
            return self.paths.get(name, name)
        return f"{self.root}.{name}"

    def text(self, name: str, part: Part) -> None:
        """Take a text or an id from a part."""
        self._put(name, part, part.text())

    def number(self, name: str, part: Part) -> None:
        """Take a number from a part."""
        self._put(name, part, part.number())

    def count(self, name: str, part: Part) -> None:
        """Take a whole number from a part."""
        self._put(name, part, part.count())

    def currency(self, part: Part) -> None:
        """Take a currency from a part; vendors allow lower case."""
        code = part.text()
        self._put("currency", part, None if code is None else code.upper())

    def given(self, name: str, part: Part, value: object) -> None:
        """Take a value that was made of a part."""
        self._put(name, part, value)

    def _put(self, name: str, part: Part, value: object) -> None:
        self.paths[name] = part.path
        if value is not None:
            self.fields[name] = value


@dataclass(frozen=True)
class Received:
    """What is known of a request beside its payload."""

    settings: CollectorSettings
    time: int
    """When it came, milliseconds since 1970."""
    secret: bytes = b""
    """Under which ids are hashed that were made of user ids."""

    def hashed(self, *parts: object) -> str:
        """Return a hash of these parts, 128 bits in hexadecimal, keyed if there is a secret."""
        text = repr(parts).encode("utf-8", "backslashreplace")
        return hashlib.blake2b(text, digest_size=16, key=self.secret[:64]).hexdigest()

    def user(self, draft: Draft, account: Part, device: Part) -> None:
        """Take the user's id from the account or the device, as the settings prefer."""
        parts = (account, device) if self.settings.identity == "account" else (device, account)
        draft.text("user_id", parts[0] or parts[1])


@dataclass
class Mapped:
    """What became of a payload."""

    drafts: list[Draft] = field(default_factory=list)
    ignored: int = 0
    """Events that say nothing about items, such as page views."""
    errors: list[PayloadError] = field(default_factory=list)

    def add(self, index: int, drafts: Iterator[Draft]) -> None:
        """Add the drafts of the payload's event number `index`, or what is wrong with it."""
        try:
            made = list(drafts)
        except PayloadError as error:
            self.errors.append(PayloadError(error.path, str(error), index))
            return
        self.drafts += made
        self.ignored += not made


class Adapter(Protocol):
    """Maps one kind of payload. Raises PayloadError if it is not of that kind at all."""

    def __call__(self, payload: Part, received: Received) -> Mapped:
        """Return what becomes of a payload."""
        ...


def joined_id(*parts: object) -> str:
    """Return an event id of these parts, the same whenever a payload is sent again.

    They are joined by slashes; what would be longer than an id may be is hashed.
    """
    readable = "/".join(str(part) for part in parts)
    if len(readable) <= _LONGEST_ID:
        return readable
    return hashlib.blake2b(readable.encode("utf-8", "replace"), digest_size=16).hexdigest()


def corrected_time(created: int, sent: int | None, received: int) -> int:
    """Return when something happened by our clock, as the sender's may be wrong.

    Args:
        created: when it happened by the sender's clock, milliseconds.
        sent: when it was sent by the sender's clock; None if that is not known.
        received: when it came by ours.
    """
    if sent is None or abs(received - sent) <= _CLOCK_SKEW_MS:
        return created
    return min(received, max(0, created + received - sent))


def items_of(kind: EventType, items: Part) -> list[Part]:
    """Return the items of an event.

    Raises:
        PayloadError: there is none, so that the event says nothing.
    """
    found = items.each()
    if not found:
        raise PayloadError(items.path, f"is missing or empty; {kind.value} events need an item")
    return found
