"""Arrays that begin at a cache line, where numpy's begin at any 16 bytes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_CACHE_LINE = 64


def aligned(shape: tuple[int, ...], dtype: DTypeLike, beyond: int = 0) -> NDArray[Any]:
    """Return zeros that begin at a cache line.

    Args:
        shape: of the array.
        dtype: of its elements.
        beyond: bytes behind it that may be read.
    """
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    room = np.zeros(size + beyond + _CACHE_LINE, np.uint8)
    start = -room.ctypes.data % _CACHE_LINE
    found: NDArray[Any] = room[start : start + size].view(kind).reshape(shape)
    return found
