"""The body of a request: which media types are read, and how."""

from __future__ import annotations

import msgspec

from producer.collector.payload import Part
from producer.collector.problems import malformed, problem

JSON_TYPES = ("application/json", "text/plain")
"""`text/plain` is what a page can send without asking first (`navigator.sendBeacon`)."""
LINE_TYPES = ("application/x-ndjson", "application/jsonl")

_decode = msgspec.json.Decoder().decode
_decode_lines = msgspec.json.Decoder().decode_lines


def read(body: bytes, content_type: str, encoding: str, *, lines: bool) -> Part:
    """Return the body as JSON.

    Args:
        body: as it came.
        content_type: the header; "" is taken as JSON.
        encoding: the header `Content-Encoding`.
        lines: whether JSON lines are taken, too; they become a list.

    Raises:
        Problem: 415 for another media type or an encoding, 400 for what is no JSON.
    """
    media = content_type.partition(";")[0].strip().lower()
    taken = (*JSON_TYPES, *(LINE_TYPES if lines else ()))
    if (media and media not in taken) or encoding.lower() not in ("", "identity"):
        raise problem(
            415,
            "media-type",
            "This media type is not taken",
            f"send {', '.join(taken[:-1])} or {taken[-1]}, not compressed",
            headers={"Accept": ", ".join(taken)},
        )
    try:
        value = _decode_lines(body) if media in LINE_TYPES else _decode(body)
    except UnicodeDecodeError as error:
        raise malformed(f"invalid UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise malformed("the JSON is nested too deeply") from None
    except msgspec.DecodeError as error:
        raise malformed(str(error)) from None
    return Part(value)
