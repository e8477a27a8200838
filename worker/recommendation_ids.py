"""Ids of recommendations: the same at every replay of an event."""

from __future__ import annotations

import numpy as np
from numba import njit

from worker.blake2b import BLOCK, Bytes, blake2b
from worker.byte_table import ByteRows
from worker.copy_bytes import copy_bytes

ID_BYTES = 16

_LENGTH_BYTES = 4
_PARTS = 3


def recommendation_ids(event_ids: ByteRows, user_ids: ByteRows, model_version: str) -> Bytes:
    """Return the ids of the answers to n events, (n, 16): BLAKE2b of the three arguments.

    Args:
        event_ids: in UTF-8, n of them.
        user_ids: in UTF-8, of the same events.
        model_version: of the bundle.
    """
    model: Bytes = np.frombuffer(model_version.encode(), np.uint8)
    longest = sum(int(np.diff(ids.starts).max(initial=0)) for ids in (event_ids, user_ids))
    size = longest + len(model) + _PARTS * _LENGTH_BYTES
    scratch: Bytes = np.empty(-(-size // BLOCK) * BLOCK, np.uint8)
    digests: Bytes = np.empty((len(event_ids.starts) - 1, ID_BYTES), np.uint8)
    _hash_all(event_ids, user_ids, model, scratch, digests)
    return digests


@njit(cache=True)
def _put_part(out: Bytes, at: int, data: Bytes, begin: int, end: int) -> int:
    # The length sets the parts apart, whatever characters they hold.
    length = end - begin
    for j in range(_LENGTH_BYTES):
        out[at + j] = (length >> (8 * (_LENGTH_BYTES - 1 - j))) & 0xFF
    at += _LENGTH_BYTES
    copy_bytes(out.ctypes.data + at, data.ctypes.data + begin, length)
    return at + length


@njit(cache=True)
def _hash_all(
    event_ids: ByteRows, user_ids: ByteRows, model: Bytes, scratch: Bytes, digests: Bytes
) -> None:
    events, event_starts = event_ids.data, event_ids.starts
    users, user_starts = user_ids.data, user_ids.starts
    for i in range(len(digests)):
        at = _put_part(scratch, 0, events, event_starts[i], event_starts[i + 1])
        at = _put_part(scratch, at, users, user_starts[i], user_starts[i + 1])
        at = _put_part(scratch, at, model, 0, len(model))
        blake2b(scratch, at, digests[i])
