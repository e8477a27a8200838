"""Parts of a payload, each with its place in it, so that an error can name what is wrong."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

_LONGEST_SHOWN = 80


class PayloadError(Exception):
    """A part of a payload is not what it has to be.

    Attributes:
        path: the part, such as `events[0].params.items[1].price`; "" for the whole payload.
        index: of the payload's event that it is in; None if it is in none.
    """

    def __init__(self, path: str, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.index = index


class Part:
    """A value in a payload, and where it is.

    What is missing is a part, too, with the value None: so a chain of names needs no checks on
    the way. An empty text counts as missing, for that is how trackers write it.

    Args:
        value: of JSON.
        path: where it is.
    """

    __slots__ = ("path", "value")

    def __init__(self, value: object, path: str = "") -> None:
        self.value = None if value == "" else value
        self.path = path

    def __bool__(self) -> bool:
        return self.value is not None

    def __getitem__(self, name: str) -> Part:
        """Return the member of an object; raises PayloadError if this is something else."""
        path = f"{self.path}.{name}" if self.path else name
        if self.value is None:
            return Part(None, path)
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        return Part(self.value.get(name), path)

    def first(self, *names: str) -> Part:
        """Return the first of these members that is there, else the first of them, missing."""
        parts = [self[name] for name in names]
        return next((part for part in parts if part), parts[0])

    def each(self) -> list[Part]:
        """Return the elements of a list; none if it is missing."""
        if self.value is None:
            return []
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        return [Part(value, f"{self.path}[{n}]") for n, value in enumerate(self.value)]

    def text(self) -> str | None:
        """Return a text; a whole number is one, for ids are often written so."""
        if self.value is None or isinstance(self.value, str):
            return self.value
        if isinstance(self.value, int) and not isinstance(self.value, bool):
            return str(self.value)
        raise self.wrong("text")

    def number(self) -> float | None:
        """Return a number, which may be written as text."""
        value: Any = self.value
        if value is None:
            return None
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                raise self.wrong("a number") from None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong("a number")
        try:
            number = float(value)
        except OverflowError:
            raise self.wrong("a number") from None
        if not math.isfinite(number):
            raise self.wrong("a number")
        return number

    def count(self) -> int | None:
        """Return a whole number, which may be written as text."""
        number = self.number()
        if number is None:
            return None
        if not number.is_integer():
            raise self.wrong("a whole number")
        return int(number)

    def flag(self) -> bool | None:
        """Return true or false."""
        if self.value is None or isinstance(self.value, bool):
            return self.value
        raise self.wrong("true or false")

    def moment(self) -> int | None:
        """Return a point in time, ISO 8601 in UTC unless it says otherwise, in milliseconds."""
        if self.value is None:
            return None
        text = self.text() or ""
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            raise self.wrong("a time, such as 2026-01-31T12:00:00.000Z") from None
        try:
            seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        except OverflowError:
            raise self.wrong("a time, such as 2026-01-31T12:00:00.000Z") from None
        return round(seconds * 1000)

    def wrong(self, wanted: str) -> PayloadError:
        """Return the error that this is not what is wanted."""
        if isinstance(self.value, dict | list):
            got = "an object" if isinstance(self.value, dict) else "a list"
        elif isinstance(self.value, str):
            shown = self.value[:_LONGEST_SHOWN] + "…" * (len(self.value) > _LONGEST_SHOWN)
            got = f"the text {shown!r}"
        else:
            got = str(self.value)[:_LONGEST_SHOWN].lower()
        return PayloadError(self.path, f"should be {wanted}, and is {got}")
