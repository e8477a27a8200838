"""What stands for event ids in users' states, many at a time."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from schemas.user_state import EVENT_KEY_BYTES
from worker.blake2b import BLOCK, Bytes, blake2b
from worker.byte_table import ByteRows
from worker.copy_bytes import copy_bytes


def event_keys(event_ids: ByteRows) -> NDArray[np.uint64]:
    """Return `schemas.user_state.event_key` of n event ids in UTF-8, uint64 (n,)."""
    longest = max(1, int(np.diff(event_ids.starts).max(initial=0)))
    scratch: Bytes = np.empty(-(-longest // BLOCK) * BLOCK, np.uint8)
    digests: Bytes = np.empty((len(event_ids.starts) - 1, EVENT_KEY_BYTES), np.uint8)
    _hash_all(event_ids, scratch, digests)
    keys: NDArray[np.uint64] = digests.view("<u8")[:, 0].astype(np.uint64)
    return keys


@njit(cache=True)
def _hash_all(event_ids: ByteRows, scratch: Bytes, digests: Bytes) -> None:
    data, starts = event_ids.data, event_ids.starts
    for i in range(len(digests)):
        length = starts[i + 1] - starts[i]
        copy_bytes(scratch.ctypes.data, data.ctypes.data + starts[i], length)
        blake2b(scratch, length, digests[i])
