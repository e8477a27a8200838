"""The items in memory: a row each, with a vector, a text and whether it may be recommended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.catalogue_items import NO_TEXT_YET, CatalogueItems, ItemChange
from worker.metrics import CatalogueChange
from worker.model.interface import AdaptationModel
from worker.ranking_index.index import ItemIndex
from worker.rows import NO_ITEM

__all__ = ["Catalogue", "ItemChange", "Unencoded"]


@dataclass(frozen=True)
class Unencoded:
    """Items whose vectors are not those of their texts."""

    rows: list[int]
    item_ids: list[str]
    texts: list[str]

    def __len__(self) -> int:
        return len(self.rows)

    def parts(self, size: int) -> Iterable[Unencoded]:
        """Yield them in parts of at most so many."""
        for start in range(0, len(self.rows), size):
            part = slice(start, start + size)
            yield Unencoded(self.rows[part], self.item_ids[part], self.texts[part])


class Catalogue:
    """Items by row, with the vectors that a model gives them. A row keeps its item for good, so
    rows may be remembered elsewhere.

    An item that is removed keeps its row and vector but is no longer found by `row`; should it come
    back, it takes the same row.

    Catalogues made by `beside` share the items. Changes reach all that are kept level.

    Args:
        model: makes the vectors.
        capacity: rows to begin with; grows as needed.
    """

    def __init__(self, model: AdaptationModel, capacity: int = 1024) -> None:
        self._share(model, CatalogueItems(), [self], capacity)

    def _share(
        self, model: AdaptationModel, items: CatalogueItems, level: list[Catalogue], capacity: int
    ) -> None:
        self._model = model
        self._items = items
        self._level = level
        self._rows = items.rows
        self._vectors = torch.zeros(capacity, model.dim, device=model.device)
        self._available = torch.zeros(capacity, dtype=torch.bool, device=model.device)
        self._available_count = 0
        # Elsewhere, scoring every item is faster.
        on_cpu = model.device.type == "cpu"
        self._index = ItemIndex(model.dim, capacity) if on_cpu else None
        self._encoded: list[str] = []
        """By row, the text that the vector is of; the very object that is among the items."""
        self.item_ids = items.item_ids
        """Item id by row."""

    def __len__(self) -> int:
        """Return the number of items, those that may not be recommended included."""
        return len(self._rows)

    @property
    def model_version(self) -> str:
        """Of the model that the vectors are of."""
        return self._model.version

    @property
    def available_count(self) -> int:
        """Items that may be recommended."""
        return self._items.available_count

    @property
    def vectors(self) -> Tensor:
        """Item vectors by row, (rows, dim)."""
        return self._vectors[: len(self.item_ids)]

    def vectors_of(self, rows: Sequence[int]) -> Tensor:
        """Return the vectors of rows, (m, dim)."""
        return self._vectors[torch.tensor(rows, device=self._vectors.device)]

    @property
    def unavailable(self) -> Tensor | None:
        """True for rows that may not be recommended, (rows,); None if there are none."""
        if self._available_count == len(self.item_ids):
            return None
        return ~self._available[: len(self.item_ids)]

    @property
    def items(self) -> CatalogueItems:
        """The items without their vectors."""
        return self._items

    @property
    def index(self) -> ItemIndex | None:
        """The index of the vectors of the items that may be recommended; None off the CPU."""
        return self._index

    @property
    def revision(self) -> int:
        """Goes up with every change that can change a ranking."""
        return self._items.revision

    @property
    def removed_rows(self) -> Iterable[int]:
        """Rows of the items that were removed and did not come back."""
        return self._items.removed.values()

    def on_removal(self, callback: Callable[[int], None]) -> None:
        """Have a function called with the row of each item that is removed from now on."""
        self._items.removal_callbacks.append(callback)

    def reserve(self, item_id: str) -> int:
        """Return the row that an item has or will have, once the catalogue holds it.

        Until then it is like an item that was removed: not found by `row`, not recommended.
        """
        row = self._items.reserve(item_id)
        for catalogue in self._level:
            catalogue._grow(len(self.item_ids))
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
        applied = self._items.apply(changes)
        for catalogue in self._level:
            catalogue._grow(len(self.item_ids))
            catalogue.encode(self._of_rows(applied.texts))
            catalogue._set_available(
                np.array(list(applied.available), np.int64),
                np.array(list(applied.available.values()), np.bool_),
            )
        return +applied.done

    def beside(self, model: AdaptationModel) -> Catalogue:
        """Return the same items with no vectors yet, for another model.

        It is not kept level: `unencoded` says what `encode` is to be given, which may be another
        thread's work, and then `keep_level` takes it in.
        """
        other = Catalogue.__new__(Catalogue)
        other._share(model, self._items, self._level, len(self._vectors))
        return other

    def unencoded(self) -> Unencoded:
        """Return the items whose vectors are not those of their texts."""
        texts, encoded = self._items.texts, self._encoded
        stale = [row for row, (a, b) in enumerate(zip(texts, encoded, strict=False)) if a is not b]
        stale += range(len(encoded), len(texts))
        return self._of_rows([row for row in stale if texts[row] is not NO_TEXT_YET])

    def encode(self, items: Unencoded) -> None:
        """Give items the vectors of these texts."""
        if not len(items):
            return
        self._grow(max(items.rows) + 1)
        vectors = self._model.item_vectors(items.item_ids, items.texts)
        self._vectors[torch.tensor(items.rows, device=vectors.device)] = vectors
        if self._index is not None:
            self._index.set_vectors(np.array(items.rows), vectors.numpy())
        for row, text in zip(items.rows, items.texts, strict=True):
            self._encoded[row] = text

    def keep_level(self) -> None:
        """Take changes in from now on, and those up to now at once."""
        self._grow(len(self.item_ids))
        self.encode(self.unencoded())
        self._set_available(
            np.arange(len(self.item_ids)), np.array(self._items.available, np.bool_)
        )
        if self not in self._level:
            self._level.append(self)

    def leave_be(self) -> None:
        """Take no more changes in; what has changed by then is `unencoded`."""
        if self in self._level:
            self._level.remove(self)

    def _of_rows(self, rows: list[int]) -> Unencoded:
        ids, texts = self.item_ids, self._items.texts
        return Unencoded(rows, [ids[row] for row in rows], [texts[row] for row in rows])

    def _set_available(self, rows: NDArray[np.int64], available: NDArray[np.bool_]) -> None:
        if not rows.size:
            return
        here = torch.from_numpy(rows).to(self._available.device)
        self._available[here] = torch.from_numpy(available).to(here.device)
        self._available_count = int(self._available.sum())
        if self._index is not None:
            self._index.set_available(rows, available)

    def _grow(self, rows: int) -> None:
        self._encoded += [NO_TEXT_YET] * (rows - len(self._encoded))
        if self._index is not None:
            self._index.reserve(rows)
        capacity = len(self._available)
        if rows <= capacity:
            return
        more = max(rows, 2 * capacity) - capacity
        self._vectors = torch.cat([self._vectors, self._vectors.new_zeros(more, self._model.dim)])
        self._available = torch.cat([self._available, self._available.new_zeros(more)])
