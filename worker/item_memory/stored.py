"""An item memory as plain arrays, to be written into a bundle and laid out anew by its reader."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from worker.item_memory.config import MemoryConfig
from worker.item_memory.kernels import Faded, Neighbours
from worker.item_memory.memory import ItemMemory

Array = NDArray[np.generic]

_SIDES = ("followers", "predecessors")
_NUMBERS = ("followers_total", "visits", "trend")


def known_rows(memory: ItemMemory) -> NDArray[np.int64]:
    """Return the rows of the items that the memory has met, ascending."""
    return np.flatnonzero(memory.arrays.visits.values > 0)


def to_arrays(memory: ItemMemory, rows: NDArray[np.int64]) -> dict[str, Array]:
    """Return what the memory knows of some rows; neighbours of all rows one after the other.

    Args:
        memory: what to store.
        rows: `known_rows`: neighbours have been met, so they are among them. Row `rows[i]` is
            stored as row i.
    """
    stored_as = np.full(memory.rows, -1, np.int32)
    stored_as[rows] = np.arange(len(rows), dtype=np.int32)
    arrays: dict[str, Array] = {}
    for name in _SIDES:
        side: Neighbours = getattr(memory.arrays, name)
        size = side.size[rows]
        used = np.arange(side.items.shape[1]) < size[:, None]
        arrays[f"{name}.size"] = size
        arrays[f"{name}.items"] = stored_as[side.items[rows][used]]
        arrays[f"{name}.weights"] = side.weights[rows][used]
        arrays[f"{name}.times"] = side.times[rows][used]
    for name in _NUMBERS:
        number: Faded = getattr(memory.arrays, name)
        arrays[f"{name}.values"] = number.values[rows]
        arrays[f"{name}.times"] = number.times[rows]
    return arrays


def from_arrays(
    config: MemoryConfig, arrays: Mapping[str, Array], rows: NDArray[np.int64]
) -> ItemMemory:
    """Return a memory with the contents of `to_arrays`, row i of them being row `rows[i]` now.

    Args:
        config: of the memory that was stored.
        arrays: from `to_arrays`.
        rows: distinct, as many as were stored.

    Raises:
        KeyError: an array is missing.
        ValueError: the arrays do not fit each other, the configuration or `rows`.
    """
    memory = ItemMemory(config, int(rows.max(initial=-1)) + 1)
    for name in _SIDES:
        side: Neighbours = getattr(memory.arrays, name)
        size = arrays[f"{name}.size"].astype(np.int32)
        if len(size) != len(rows) or size.max(initial=0) > config.neighbours:
            raise ValueError(f"{name}: rows or sizes do not fit the configuration")
        items = _column(arrays, f"{name}.items", int(size.sum())).astype(np.int64)
        if len(items) and not 0 <= items.min() <= items.max() < len(rows):
            raise ValueError(f"{name}: items do not fit the rows")
        at = np.repeat(rows, size)
        slot = np.arange(len(items)) - np.repeat(np.cumsum(size) - size, size)
        side.size[rows] = size
        side.items[at, slot] = rows[items]
        side.weights[at, slot] = _column(arrays, f"{name}.weights", len(items))
        side.times[at, slot] = _column(arrays, f"{name}.times", len(items))
    for name in _NUMBERS:
        number: Faded = getattr(memory.arrays, name)
        number.values[rows] = _column(arrays, f"{name}.values", len(rows))
        number.times[rows] = _column(arrays, f"{name}.times", len(rows))
    memory.start_clock()
    return memory


def _column(arrays: Mapping[str, Array], name: str, length: int) -> Array:
    # Without this an array of one entry would be taken for all of them.
    column = arrays[name]
    if column.shape != (length,):
        raise ValueError(f"{name} has the shape {column.shape}, not ({length},)")
    return column
