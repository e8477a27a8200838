"""Users' columns as MessagePack, compiled: the bytes that `schemas.codec.encode_state` gives.

The format is that of the MessagePack specification (github.com/msgpack/msgpack, spec.md): every
number, string and length in the shortest form there is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from schemas.user_state import LAYOUT_VERSION
from worker.byte_table import ByteRows
from worker.rows import NO_ITEM
from worker.state.user_columns import UserColumns

Bytes = NDArray[np.uint8]

_NO_ITEM = NO_ITEM
_VERSION = LAYOUT_VERSION
_TEXT, _BINARY, _NIL, _NO_QUERIES = 0xD9, 0xC4, 0xC0, 0x80
_STATE_FIELDS, _RECENT_FIELDS = 10, 5
_LONGEST_HEAD = 9
_HEADS = 16
"""Numbers and lengths in a record besides the items' ones."""


class Records(NamedTuple):
    """What the records of n users are made of."""

    slots: NDArray[np.int64]
    user_ids: ByteRows
    """In UTF-8, n of them."""
    arrays: Bytes
    """(n, bytes)."""
    model_version: Bytes
    """In UTF-8."""
    item_ids: ByteRows
    """In UTF-8, by catalogue row."""


@njit(cache=True)
def _put_number(out: Bytes, at: int, value: int, width: int) -> int:
    """Write a number of `width` bytes, the largest first."""
    for k in range(width):
        out[at + k] = (value >> (8 * (width - 1 - k))) & 0xFF
    return at + width


@njit(cache=True)
def _put_int(out: Bytes, at: int, value: int) -> int:
    """Write an integer from −32 on."""
    if value < 128:
        out[at] = value & 0xFF
        return at + 1
    width, kind = 1, 0xCC
    while width < 8 and value >> (8 * width) != 0:
        width, kind = 2 * width, kind + 1
    out[at] = kind
    return _put_number(out, at + 1, value, width)


@njit(cache=True)
def _put_array_head(out: Bytes, at: int, length: int) -> int:
    """Write the length of an array below 65,536."""
    if length < 16:
        out[at] = 0x90 | length
        return at + 1
    out[at] = 0xDC
    return _put_number(out, at + 1, length, 2)


@njit(cache=True)
def _put_byte_head(out: Bytes, at: int, length: int, kind: int) -> int:
    """Write the length of bytes: `kind` stands for one of one byte."""
    width = 1
    while width < 4 and length >> (8 * width) != 0:
        width, kind = 2 * width, kind + 1
    out[at] = kind
    return _put_number(out, at + 1, length, width)


@njit(cache=True)
def _put_text(out: Bytes, at: int, data: Bytes, begin: int, end: int) -> int:
    length = end - begin
    if length < 32:
        out[at] = 0xA0 | length
        at += 1
    else:
        at = _put_byte_head(out, at, length, _TEXT)
    for k in range(begin, end):
        out[at] = data[k]
        at += 1
    return at


@njit(cache=True)
def _put_little(out: Bytes, at: int, value: int, width: int) -> int:
    """Write a number of `width` bytes, the smallest first."""
    for k in range(width):
        out[at + k] = (value >> (8 * k)) & 0xFF
    return at + width


@njit(cache=True)
def _put_recent(out: Bytes, at: int, columns: UserColumns, slot: int, item_ids: ByteRows) -> int:
    """Write the fields of `schemas.user_state.RecentEvents`, without queries."""
    n, active = columns.kept[slot], columns.active[slot]
    keys, types, times, items = columns.keys, columns.types, columns.times, columns.items
    at = _put_array_head(out, at, _RECENT_FIELDS)
    at = _put_byte_head(out, at, 8 * n, _BINARY)
    for place in range(n):
        at = _put_little(out, at, keys[slot, place], 8)
    at = _put_byte_head(out, at, n, _BINARY)
    oldest = active
    for place in range(n):
        out[at + place] = types[slot, place]
        oldest = min(oldest, times[slot, place])
    width = 4 if active - oldest <= 0xFFFFFFFF else 8
    at = _put_byte_head(out, at + n, width * n, _BINARY)
    for place in range(n):
        at = _put_little(out, at, active - times[slot, place], width)
    at = _put_array_head(out, at, n)
    data, starts = item_ids.data, item_ids.starts
    for place in range(n):
        row = items[slot, place]
        if row == _NO_ITEM:
            out[at] = _NIL
            at += 1
        else:
            at = _put_text(out, at, data, starts[row], starts[row + 1])
    out[at] = _NO_QUERIES
    return at + 1


@njit(cache=True)
def room_needed(columns: UserColumns, records: Records) -> int:
    """Return bytes that are enough for `write_records`."""
    user_ids, starts = records.user_ids.starts, records.item_ids.starts
    size = int(user_ids[-1])
    fixed = records.arrays.shape[1] + len(records.model_version) + _HEADS * _LONGEST_HEAD
    for slot in records.slots:
        size += fixed
        for place in range(columns.kept[slot]):
            size += 8 + 1 + 8 + _LONGEST_HEAD
            row = columns.items[slot, place]
            if row >= 0:
                size += starts[row + 1] - starts[row]
    return size


@njit(cache=True)
def write_records(
    columns: UserColumns, records: Records, out: Bytes, ends: NDArray[np.int64]
) -> None:
    """Write a `user-state` record for each of n users who have no texts.

    Args:
        columns: of the users.
        records: what they are made of.
        out: takes the records, one after the other.
        ends: takes where each one ends, (n,).
    """
    at = 0
    arrays, version = records.arrays, records.model_version
    for i in range(len(records.slots)):
        slot = records.slots[i]
        at = _put_array_head(out, at, _STATE_FIELDS)
        at = _put_int(out, at, _VERSION)
        starts = records.user_ids.starts
        at = _put_text(out, at, records.user_ids.data, starts[i], starts[i + 1])
        at = _put_int(out, at, columns.partition[slot])
        at = _put_int(out, at, columns.offset[slot])
        at = _put_int(out, at, columns.events_seen[slot])
        at = _put_int(out, at, columns.last_time[slot])
        at = _put_int(out, at, columns.active[slot])
        at = _put_text(out, at, version, 0, len(version))
        width = arrays.shape[1]
        at = _put_byte_head(out, at, width, _BINARY)
        out[at : at + width] = arrays[i]
        at = _put_recent(out, at + width, columns, slot, records.item_ids)
        ends[i] = at
