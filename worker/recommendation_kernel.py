"""Recommendations as JSON, compiled: the messages that `schemas.codec` writes of the same numbers.

The bytes are the same, too, but for numbers below 10⁻⁵, which there have an exponent. The format is
that of RFC 8259.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.byte_table import ByteRows
from worker.copy_bytes import copy_bytes
from worker.ranking_index.simd import prefetch
from worker.rows import NO_ITEM

Bytes = NDArray[np.uint8]

DECIMALS = 6
"""Of scores and losses."""
PROPENSITY_DECIMALS = 9
"""They are divided by, so small ones have to keep some digits."""

_NO_ITEM = NO_ITEM
_SCALE = 10.0**DECIMALS
_PROPENSITY_SCALE = 10.0**PROPENSITY_DECIMALS
_WHOLE_PROPENSITY = np.uint64(10**PROPENSITY_DECIMALS)
_WHOLE = np.uint64(10**DECIMALS)
_LARGEST = 2.0**53
"""Whole numbers of this size and more have no room for what `_put_decimal` needs to be exact."""
_LONGEST_NUMBER = 24
_LONGEST_ESCAPE = 6
_TEN = np.uint64(10)
_ZERO, _MINUS, _POINT, _QUOTE, _BACKSLASH = 48, 45, 46, 34, 92


def _bytes(text: str) -> Bytes:
    return np.frombuffer(text.encode(), np.uint8)


_HEAD = _bytes('{"recommendation_id":"')
_USER = _bytes('","user_id":')
_ITEMS = _bytes(',"items":[')
_ITEM = _bytes('{"item_id":')
_SCORE = _bytes(',"score":')
_SIMILAR = _bytes(',"reason":{"kind":"similar_to","item_id":')
_START = _bytes(',"reason":{"kind":"start"')
_TYPE = _bytes(',"event_type":')
_END = _bytes("}")
_PROPENSITY = _bytes(',"propensity":')
_END_ITEM = _bytes("}}")
_SEEN = _bytes('],"events_seen":')
_CAUSED = _bytes(',"caused_by":')
_STEPPED = _bytes(',"adaptation":{"steps":1,"support_loss_before":')
_AFTER = _bytes(',"support_loss_after":')
_NO_STEP = _bytes(',"adaptation":{"steps":0,"support_loss_before":null,"support_loss_after":null')
_OF_ITEM = len(_ITEM) + len(_SCORE) + _LONGEST_NUMBER + len(_SIMILAR) + len(_END_ITEM) + 1
_OF_PROPENSITY = len(_PROPENSITY) + _LONGEST_NUMBER
_OF_MESSAGE = (
    sum(map(len, (_HEAD, _USER, _ITEMS, _SEEN, _CAUSED, _STEPPED, _AFTER, _NO_STEP)))
    + 6 * _LONGEST_NUMBER
    + 8
)
_ESCAPES = np.zeros(256, np.uint8)
"""What follows the backslash; 0 where a byte stands for itself, `u` for what has four digits."""
_ESCAPES[:32] = ord("u")
for _byte, _letter in zip(b'\b\t\n\f\r"\\', b'btnfr"\\', strict=True):
    _ESCAPES[_byte] = _letter
_FOUR_DIGITS = ord("u")
_HEXADECIMAL = _bytes("0123456789abcdef")


class Messages(NamedTuple):
    """What n recommendations are made of."""

    ids: Bytes
    """Of the recommendations, (n, 16)."""
    user_ids: ByteRows
    """In UTF-8, n of them."""
    event_ids: ByteRows
    """In UTF-8, n of them."""
    rows: NDArray[np.int64]
    """Catalogue rows of the items, (n, k), or `NO_ITEM`, which is left out."""
    scores: NDArray[np.float32]
    """(n, k)."""
    reasons: NDArray[np.int64]
    """Catalogue rows of what explains them, (n, k), or `NO_ITEM`."""
    items: ByteRows
    """Items' ids as JSON strings, quotes included, by catalogue row."""
    also: ByteRows
    """What follows the event's id, n of them; without rows if that is nothing."""
    events_seen: NDArray[np.int64]
    stepped: NDArray[np.bool_]
    loss_before: NDArray[np.float32]
    loss_after: NDArray[np.float32]
    model: Bytes
    """From the end of the losses to the event's time: the same for all."""
    event_times: NDArray[np.int64]
    end: Bytes
    """After the event's time: the same for all."""


class Extras(NamedTuple):
    """What a policy adds to n recommendations."""

    reason_types: NDArray[np.uint8]
    """What the user did with the items of the reasons, as rows of `types`, (n, k); without rows to
    leave it out."""
    types: ByteRows
    """Names as JSON strings."""
    propensities: NDArray[np.float64]
    """Of the items, (n, k), in (0, 1]; without rows to leave them out."""


@njit(cache=True)
def room_needed(messages: Messages) -> int:
    """Return a number of bytes that the messages do not exceed; send for the items' ids."""
    n, k = messages.rows.shape
    rows, reasons, starts = messages.rows, messages.reasons, messages.items.starts
    data = messages.items.data.ctypes.data
    ids = messages.user_ids.starts[n] + messages.event_ids.starts[n]
    fixed = 2 * messages.ids.shape[1] + len(messages.model) + len(messages.end)
    room: int = _LONGEST_ESCAPE * ids + n * (_OF_MESSAGE + fixed + k * _OF_ITEM)
    room += len(messages.also.data)
    for i in range(n):
        for j in range(k):
            row, reason = rows[i, j], reasons[i, j]
            if row != _NO_ITEM:
                length = starts[row + 1] - starts[row]
                prefetch(data + starts[row], length)
                room += length
                if reason != _NO_ITEM:
                    room += starts[reason + 1] - starts[reason]
    return room


def room_for_extras(extras: Extras) -> int:
    """Return how many more bytes these do not exceed."""
    of_type = len(_TYPE) + len(extras.types.data)
    return extras.propensities.size * _OF_PROPENSITY + extras.reason_types.size * of_type


@njit(cache=True)
def _copy(out: Bytes, at: int, data: Bytes, begin: int, end: int) -> int:
    copy_bytes(out.ctypes.data + at, data.ctypes.data + begin, end - begin)
    return at + end - begin


@njit(cache=True)
def _put(out: Bytes, at: int, data: Bytes) -> int:
    return _copy(out, at, data, 0, len(data))


@njit(cache=True)
def _put_string(out: Bytes, at: int, data: Bytes, begin: int, end: int) -> int:
    """Write UTF-8 as a string of JSON."""
    out[at] = _QUOTE
    at += 1
    for j in range(begin, end):
        byte = data[j]
        escape = _ESCAPES[byte]
        if escape == 0:
            out[at] = byte
            at += 1
            continue
        out[at] = _BACKSLASH
        out[at + 1] = escape
        at += 2
        if escape == _FOUR_DIGITS:
            out[at] = out[at + 1] = _ZERO
            out[at + 2] = _HEXADECIMAL[byte >> 4]
            out[at + 3] = _HEXADECIMAL[byte & 15]
            at += 4
    out[at] = _QUOTE
    return at + 1


@njit(cache=True)
def _put_hexadecimal(out: Bytes, at: int, data: Bytes, i: int) -> int:
    """Write row i of `data`, two digits a byte."""
    for j in range(data.shape[1]):
        out[at] = _HEXADECIMAL[data[i, j] >> 4]
        out[at + 1] = _HEXADECIMAL[data[i, j] & 15]
        at += 2
    return at


@njit(cache=True)
def _put_digits(out: Bytes, at: int, value: np.uint64) -> int:
    """Write a whole number."""
    digits, rest = 1, value // _TEN
    while rest != 0:
        digits, rest = digits + 1, rest // _TEN
    for j in range(digits - 1, -1, -1):
        out[at + j] = _ZERO + np.uint8(value % _TEN)
        value = value // _TEN
    return at + digits


@njit(cache=True)
def _put_int(out: Bytes, at: int, value: int) -> int:
    if value < 0:
        out[at] = _MINUS
        return _put_digits(out, at + 1, np.uint64(-value))
    return _put_digits(out, at, np.uint64(value))


@njit(cache=True)
def _put_decimal(out: Bytes, at: int, x: float) -> int:
    """Write a number rounded to 6 decimals, ties to even; return −1 if it has too many digits.

    What it reads as is `numpy.round`'s: whole millionths below 2⁵³ divided by 10⁶, rounded once.
    """
    millionths = np.rint(x * _SCALE)
    if not abs(millionths) < _LARGEST:
        return -1
    if np.signbit(millionths):
        out[at] = _MINUS
        at += 1
        millionths = -millionths
    return _put_parts(out, at, np.uint64(millionths), _WHOLE, DECIMALS)


@njit(cache=True, inline="always")  # division by constants
def _put_parts(out: Bytes, at: int, parts: np.uint64, whole: np.uint64, decimals: int) -> int:
    """Write a number of parts, `whole` of which make one, that being 10 to the `decimals`."""
    at = _put_digits(out, at, parts // whole)
    rest = parts % whole
    out[at] = _POINT
    for j in range(decimals, 0, -1):
        out[at + j] = _ZERO + np.uint8(rest % _TEN)
        rest = rest // _TEN
    at += decimals
    while out[at] == _ZERO and out[at - 1] != _POINT:
        at -= 1
    return at + 1


@njit(cache=True)
def _put_type(out: Bytes, at: int, extras: Extras, i: int, j: int) -> int:
    """Write what the user did with the reason of item j of message i, if that is told."""
    if len(extras.reason_types) == 0:
        return at
    kind, starts = extras.reason_types[i, j], extras.types.starts
    at = _put(out, at, _TYPE)
    return _copy(out, at, extras.types.data, starts[kind], starts[kind + 1])


@njit(cache=True)
def _put_propensity(out: Bytes, at: int, extras: Extras, i: int, j: int) -> int:
    """Write an item's probability, rounded to 9 decimals but never as 0, if that is told."""
    if len(extras.propensities) == 0:
        return at
    at = _put(out, at, _PROPENSITY)
    parts = max(1.0, np.rint(extras.propensities[i, j] * _PROPENSITY_SCALE))
    return _put_parts(out, at, np.uint64(parts), _WHOLE_PROPENSITY, PROPENSITY_DECIMALS)


@njit(cache=True)
def _put_list(
    out: Bytes, at: int, rows: NDArray[np.int64], scores: NDArray[np.float32],
    reasons: NDArray[np.int64], data: Bytes, starts: NDArray[np.int64], i: int,
    extras: Extras | None,
) -> int:  # fmt: skip
    """Write the items of message i; return −1 if a score cannot be written."""
    first = True
    for j in range(rows.shape[1]):
        row, reason = rows[i, j], reasons[i, j]
        if row == _NO_ITEM:
            continue
        if not first:
            out[at] = 44
            at += 1
        first = False
        at = _put(out, at, _ITEM)
        at = _copy(out, at, data, starts[row], starts[row + 1])
        at = _put(out, at, _SCORE)
        at = _put_decimal(out, at, np.float64(scores[i, j]))
        if at < 0:
            return -1
        if reason == _NO_ITEM:
            at = _put(out, at, _START)
        else:
            at = _put(out, at, _SIMILAR)
            at = _copy(out, at, data, starts[reason], starts[reason + 1])
            if extras is not None:
                at = _put_type(out, at, extras, i, j)
        if extras is None:
            at = _put(out, at, _END_ITEM)
        else:
            at = _put_propensity(out, _put(out, at, _END), extras, i, j)
            at = _put(out, at, _END)
    return at


@njit(cache=True)
def _put_adaptation(
    out: Bytes, at: int, stepped: bool, before: np.float32, after: np.float32
) -> int:
    """Write what the inner loop did; return −1 if a loss cannot be written."""
    if not stepped:
        return _put(out, at, _NO_STEP)
    at = _put(out, at, _STEPPED)
    at = _put_decimal(out, at, np.float64(before))
    if at < 0:
        return -1
    at = _put(out, at, _AFTER)
    return _put_decimal(out, at, np.float64(after))


@njit(cache=True)
def write_messages(
    messages: Messages, extras: Extras | None, out: Bytes, ends: NDArray[np.int64]
) -> bool:
    """Write the messages one after the other.

    Args:
        messages: n of them.
        extras: what more to say of their items; None, which is not compiled in, for nothing.
        out: of the size that `room_needed` says, and `room_for_extras`.
        ends: where each message ends goes here, (n,).

    Returns:
        Whether that was possible: not where a score or loss is NaN, infinite, or 9·10⁹ or more.
    """
    rows, scores, reasons = messages.rows, messages.scores, messages.reasons
    data, starts = messages.items.data, messages.items.starts
    users, user_starts = messages.user_ids.data, messages.user_ids.starts
    events, event_starts = messages.event_ids.data, messages.event_ids.starts
    ids, seen, times = messages.ids, messages.events_seen, messages.event_times
    model, end = messages.model, messages.end
    stepped, before, after = messages.stepped, messages.loss_before, messages.loss_after
    also, also_starts = messages.also.data, messages.also.starts
    at = 0
    for i in range(len(rows)):
        at = _put(out, at, _HEAD)
        at = _put_hexadecimal(out, at, ids, i)
        at = _put(out, at, _USER)
        at = _put_string(out, at, users, user_starts[i], user_starts[i + 1])
        at = _put(out, at, _ITEMS)
        at = _put_list(out, at, rows, scores, reasons, data, starts, i, extras)
        if at < 0:
            return False
        at = _put(out, at, _SEEN)
        at = _put_int(out, at, seen[i])
        at = _put(out, at, _CAUSED)
        at = _put_string(out, at, events, event_starts[i], event_starts[i + 1])
        if len(also):
            at = _copy(out, at, also, also_starts[i], also_starts[i + 1])
        at = _put_adaptation(out, at, stepped[i], before[i], after[i])
        if at < 0:
            return False
        at = _put(out, at, model)
        at = _put_int(out, at, times[i])
        at = _put(out, at, end)
        ends[i] = at
    return True
