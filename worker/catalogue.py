"""The items in memory: a row each, with a vector, a text and whether it may be recommended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from schemas.catalog import CatalogItem, item_text
from worker.metrics import CatalogueChange
from worker.model.interface import AdaptationModel
from worker.ranking_index.index import ItemIndex
from worker.rows import NO_ITEM

_NO_TEXT_YET = "\x00"
"""Differs from every item's text."""


@dataclass(frozen=True)
class ItemChange:
    """One readable record of the `catalog` topic."""

    item_id: str
    item: CatalogItem | None
    """None removes the item."""


class Catalogue:
    """Items by row. A row keeps its item for good, so rows may be remembered elsewhere.

    An item that is removed keeps its row and vector but is no longer found by `row`; should it come
    back, it takes the same row.

    Args:
        model: makes the vectors.
        capacity: rows to begin with; grows as needed.
    """

    def __init__(self, model: AdaptationModel, capacity: int = 1024) -> None:
        self._model = model
        self._rows: dict[str, int] = {}
        self._removed: dict[str, int] = {}
        self._removal_callbacks: list[Callable[[int], None]] = []
        self._texts: list[str] = []
        self._vectors = torch.zeros(capacity, model.dim, device=model.device)
        self._available = torch.zeros(capacity, dtype=torch.bool, device=model.device)
        self._available_count = 0
        # Elsewhere, scoring every item is faster.
        on_cpu = model.device.type == "cpu"
        self._index = ItemIndex(model.dim, capacity) if on_cpu else None
        self.item_ids: list[str] = []
        """Item id by row."""
        self.revision = 0
        """Goes up with every change that can change a ranking."""

    def __len__(self) -> int:
        """Return the number of items, those that may not be recommended included."""
        return len(self._rows)

    @property
    def available_count(self) -> int:
        """Items that may be recommended."""
        return self._available_count

    @property
    def vectors(self) -> Tensor:
        """Item vectors by row, (rows, dim)."""
        return self._vectors[: len(self.item_ids)]

    @property
    def unavailable(self) -> Tensor | None:
        """True for rows that may not be recommended, (rows,); None if there are none."""
        if self._available_count == len(self.item_ids):
            return None
        return ~self._available[: len(self.item_ids)]

    @property
    def index(self) -> ItemIndex | None:
        """The index of the vectors of the items that may be recommended; None off the CPU."""
        return self._index

    @property
    def removed_rows(self) -> Iterable[int]:
        """Rows of the items that were removed and did not come back."""
        return self._removed.values()

    def on_removal(self, callback: Callable[[int], None]) -> None:
        """Have a function called with the row of each item that is removed from now on."""
        self._removal_callbacks.append(callback)

    def reserve(self, item_id: str) -> int:
        """Return the row that an item has or will have, once the catalogue holds it.

        Until then it is like an item that was removed: not found by `row`, not recommended.
        """
        row = self._rows.get(item_id, self._removed.get(item_id, NO_ITEM))
        if row == NO_ITEM:
            row = self._removed[item_id] = len(self.item_ids)
            self.item_ids.append(item_id)
            self._texts.append(_NO_TEXT_YET)
            self._grow(len(self.item_ids))
            self.revision += 1
        return row

    def row(self, item_id: str | None) -> int:
        """Return the row of an item, `NO_ITEM` if the catalogue does not hold it."""
        return NO_ITEM if item_id is None else self._rows.get(item_id, NO_ITEM)

    def rows(self, item_ids: Sequence[str | None]) -> list[int]:
        """Return the row of each item; see `row`."""
        rows: dict[str | None, int] = cast("dict[str | None, int]", self._rows)  # None is not in it
        row = rows.get
        return [row(item_id, NO_ITEM) for item_id in item_ids]

    def apply(self, changes: Sequence[ItemChange]) -> Counter[CatalogueChange]:
        """Take over changes, the last one of an item counting, and return what they did.

        Only new items and items whose text changed cost a pass through the text encoder.
        """
        latest = {change.item_id: change.item for change in changes}
        done = Counter({CatalogueChange.UNCHANGED: len(changes) - len(latest)})
        texts: dict[str, str] = {}
        available: dict[str, bool] = {}
        for item_id, item in latest.items():
            if item is None:
                done[self._remove(item_id, available)] += 1
                continue
            text = item_text(item)
            done[self._place(item_id, text, item.available, texts)] += 1
            available[item_id] = item.available
        self._set_vectors(texts)
        self._set_available(available)
        if done.total() > done[CatalogueChange.UNCHANGED]:
            self.revision += 1
        return +done

    def _remove(self, item_id: str, available: dict[str, bool]) -> CatalogueChange:
        row = self._rows.pop(item_id, NO_ITEM)
        if row == NO_ITEM:
            return CatalogueChange.UNCHANGED
        self._removed[item_id] = row
        available[item_id] = False
        for callback in self._removal_callbacks:
            callback(row)
        return CatalogueChange.REMOVED

    def _place(
        self, item_id: str, text: str, available: bool, texts: dict[str, str]
    ) -> CatalogueChange:
        row = self._rows.get(item_id, NO_ITEM)
        if row == NO_ITEM:
            row = self._removed.pop(item_id, NO_ITEM)
            known = row != NO_ITEM
            self._rows[item_id] = row if known else len(self.item_ids)
            if not known:
                self.item_ids.append(item_id)
                self._texts.append(text)
            if not known or self._texts[row] != text:
                texts[item_id] = text
            return CatalogueChange.ADDED
        if self._texts[row] != text:
            texts[item_id] = text
            return CatalogueChange.CHANGED
        if bool(self._available[row]) != available:
            return CatalogueChange.CHANGED
        return CatalogueChange.UNCHANGED

    def _set_vectors(self, texts: dict[str, str]) -> None:
        self._grow(len(self.item_ids))
        if not texts:
            return
        rows = [self._rows[item_id] for item_id in texts]
        for row, text in zip(rows, texts.values(), strict=True):
            self._texts[row] = text
        vectors = self._model.item_vectors(list(texts), list(texts.values()))
        self._vectors[torch.tensor(rows, device=vectors.device)] = vectors
        if self._index is not None:
            self._index.set_vectors(np.array(rows), vectors.numpy())

    def _set_available(self, available: dict[str, bool]) -> None:
        if not available:
            return
        rows = [
            self._rows.get(item_id, self._removed.get(item_id, NO_ITEM)) for item_id in available
        ]
        device = self._available.device
        self._available[torch.tensor(rows, device=device)] = torch.tensor(
            list(available.values()), device=device
        )
        self._available_count = int(self._available.sum())
        if self._index is not None:
            self._index.set_available(np.array(rows), np.array(list(available.values())))

    def _grow(self, rows: int) -> None:
        if self._index is not None:
            self._index.reserve(rows)
        capacity = len(self._available)
        if rows <= capacity:
            return
        more = max(rows, 2 * capacity) - capacity
        self._vectors = torch.cat([self._vectors, self._vectors.new_zeros(more, self._model.dim)])
        self._available = torch.cat([self._available, self._available.new_zeros(more)])
