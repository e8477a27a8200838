"""Vectors of texts seen lately."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_DIGEST_BYTES = 16


def text_key(text: str) -> bytes:
    """Return a 128-bit hash of a text's content (BLAKE2b)."""
    return hashlib.blake2b(
        text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES
    ).digest()


class VectorCache:
    """Bounded, least-recently-used, by a hash of the content: it keeps no text, so no queries.

    Safe to use from several threads.

    Attributes:
        hits: texts found, over the cache's life.
        misses: texts not found.
    """

    def __init__(self, entries: int) -> None:
        self.entries = entries
        self.hits = 0
        self.misses = 0
        self._vectors: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._vectors)

    def find(self, keys: Iterable[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """Return the vectors that are there, by key; they become the most recently used."""
        found = {}
        with self._lock:
            for key in keys:
                vector = self._vectors.get(key)
                if vector is None:
                    self.misses += 1
                    continue
                self.hits += 1
                self._vectors.move_to_end(key)
                found[key] = vector
        return found

    def add(self, keys: Iterable[bytes], vectors: NDArray[np.float32]) -> None:
        """Add vectors (n, dimension), copied; the least recently used make room."""
        if not self.entries:
            return
        with self._lock:
            for key, vector in zip(keys, vectors, strict=True):
                self._vectors[key] = vector.copy()
                self._vectors.move_to_end(key)
            while len(self._vectors) > self.entries:
                self._vectors.popitem(last=False)
