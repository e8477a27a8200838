"""BLAKE2b (RFC 7693) of short messages, compiled: without a Python object for each of them.

What `hashlib.blake2b` computes, without a key, salt or tree.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

BLOCK = 128
"""Bytes of a block."""

_U64 = np.uint64
_START = np.array(
    [
        0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
        0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
    ],
    np.uint64,
)  # fmt: skip
_ORDER = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
        [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
        [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
        [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
        [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    ],
    np.uint8,
)  # fmt: skip
"""Which word of a block goes where, round by round: SIGMA of the RFC."""


@njit(inline="always")
def _rotate(x: np.uint64, bits: int) -> np.uint64:
    return (x >> _U64(bits)) | (x << _U64(64 - bits))


@njit(inline="always")
def _mix(
    a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64, x: np.uint64, y: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """The function G of the RFC."""
    a = a + b + x
    d = _rotate(d ^ a, 32)
    c = c + d
    b = _rotate(b ^ c, 24)
    a = a + b + y
    d = _rotate(d ^ a, 16)
    c = c + d
    b = _rotate(b ^ c, 63)
    return a, b, c, d


@njit(cache=True)
def _compress(h: NDArray[np.uint64], m: NDArray[np.uint64], count: int, last: bool) -> None:
    """Take up a block: the function F of the RFC.

    Args:
        h: what the blocks up to here amount to, (8,).
        m: words of the block, (16,).
        count: bytes up to here, this block's included.
        last: whether it is the last block.
    """
    v0, v1, v2, v3, v4, v5, v6, v7 = h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]
    v8, v9, v10, v11 = _START[0], _START[1], _START[2], _START[3]
    v12, v13, v14, v15 = _START[4] ^ _U64(count), _START[5], _START[6], _START[7]
    if last:
        v14 = ~v14
    for r in range(12):
        s = _ORDER[r]
        v0, v4, v8, v12 = _mix(v0, v4, v8, v12, m[s[0]], m[s[1]])
        v1, v5, v9, v13 = _mix(v1, v5, v9, v13, m[s[2]], m[s[3]])
        v2, v6, v10, v14 = _mix(v2, v6, v10, v14, m[s[4]], m[s[5]])
        v3, v7, v11, v15 = _mix(v3, v7, v11, v15, m[s[6]], m[s[7]])
        v0, v5, v10, v15 = _mix(v0, v5, v10, v15, m[s[8]], m[s[9]])
        v1, v6, v11, v12 = _mix(v1, v6, v11, v12, m[s[10]], m[s[11]])
        v2, v7, v8, v13 = _mix(v2, v7, v8, v13, m[s[12]], m[s[13]])
        v3, v4, v9, v14 = _mix(v3, v4, v9, v14, m[s[14]], m[s[15]])
    h[0] ^= v0 ^ v8
    h[1] ^= v1 ^ v9
    h[2] ^= v2 ^ v10
    h[3] ^= v3 ^ v11
    h[4] ^= v4 ^ v12
    h[5] ^= v5 ^ v13
    h[6] ^= v6 ^ v14
    h[7] ^= v7 ^ v15


@njit(cache=True)
def blake2b(data: Bytes, length: int, digest: Bytes) -> None:
    """Hash a message.

    Args:
        data: begins with the message; what comes after it is overwritten with zeros, up to a whole
            number of blocks, for which there must be room.
        length: of the message, bytes.
        digest: goes here; its size, 1 to 64, is part of what is hashed.
    """
    blocks = max(1, (length + BLOCK - 1) // BLOCK)
    for j in range(length, blocks * BLOCK):
        data[j] = 0
    h = _START.copy()
    h[0] ^= _U64(0x01010000 ^ len(digest))
    m = np.empty(16, np.uint64)
    for block in range(blocks):
        for w in range(16):
            at = block * BLOCK + 8 * w
            word = _U64(0)
            for j in range(8):
                word |= _U64(data[at + j]) << _U64(8 * j)
            m[w] = word
        last = block == blocks - 1
        _compress(h, m, length if last else (block + 1) * BLOCK, last)
    for j in range(len(digest)):
        digest[j] = np.uint8((h[j // 8] >> _U64(8 * (j % 8))) & _U64(0xFF))
