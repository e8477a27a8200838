"""Many byte strings one after the other in one array, for compiled code to copy from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

_ScalarT = TypeVar("_ScalarT", bound=np.generic)


class ByteRows(NamedTuple):
    """Byte strings by row, one after the other: what compiled code takes."""

    data: NDArray[np.uint8]
    """All of them; row i is `data[starts[i]:starts[i + 1]]`."""
    starts: NDArray[np.int64]
    """Where each begins, and where the last one ends, (rows + 1,)."""


def packed(values: Sequence[bytes]) -> ByteRows:
    """Return byte strings one after the other."""
    starts = np.zeros(len(values) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, values), np.int64, len(values)), out=starts[1:])
    return ByteRows(np.frombuffer(b"".join(values), np.uint8), starts)


class ByteTable:
    """Byte strings by row; grows at the end."""

    def __init__(self) -> None:
        self._rows = 0
        self._data: NDArray[np.uint8] = np.empty(1 << 12, np.uint8)
        self._starts: NDArray[np.int64] = np.zeros(1 << 8, np.int64)

    def __len__(self) -> int:
        return self._rows

    @property
    def data(self) -> NDArray[np.uint8]:
        """All of them; row i is `data[starts[i]:starts[i + 1]]`."""
        return self._data[: self._starts[self._rows]]

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each begins, and where the last one ends, (rows + 1,)."""
        return self._starts[: self._rows + 1]

    @property
    def rows(self) -> ByteRows:
        """All of them, as they are now."""
        return ByteRows(self.data, self.starts)

    def extend(self, more: Sequence[bytes]) -> None:
        """Add rows."""
        if not more:
            return
        begin = int(self._starts[self._rows])
        added = np.frombuffer(b"".join(more), np.uint8)
        ends = np.fromiter(accumulate(map(len, more)), np.int64, len(more))
        self._data = _with_room(self._data, begin + len(added))
        self._starts = _with_room(self._starts, self._rows + len(more) + 1)
        self._data[begin : begin + len(added)] = added
        self._starts[self._rows + 1 : self._rows + len(more) + 1] = begin + ends
        self._rows += len(more)


def _with_room(array: NDArray[_ScalarT], size: int) -> NDArray[_ScalarT]:
    if size <= len(array):
        return array
    larger = np.empty(max(size, 2 * len(array)), array.dtype)
    larger[: len(array)] = array
    return larger
