"""The items themselves, by row: ids, texts, labels, and whether they may be recommended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from schemas.catalog import CatalogItem, item_text
from worker.catalogue_labels import ItemLabels
from worker.metrics import CatalogueChange
from worker.rows import NO_ITEM

NO_TEXT_YET = "\x00"
"""Differs from every item's text."""


@dataclass(frozen=True)
class ItemChange:
    """One readable record of the `catalog` topic."""

    item_id: str
    item: CatalogItem | None
    """None removes the item."""


@dataclass
class Applied:
    """What changes did."""

    done: Counter[CatalogueChange]
    texts: list[int] = field(default_factory=list)
    """Rows whose text is another one, or new."""
    available: dict[int, bool] = field(default_factory=dict)
    """By row, where that may have changed."""
    labels: list[int] = field(default_factory=list)
    """Rows with another brand or category path, and new ones."""


class CatalogueItems:
    """Items by row. A row keeps its item for good, so rows may be remembered elsewhere.

    An item that is removed keeps its row and text but is not among `rows`; should it come back, it
    takes the same row.
    """

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        """By id, of the items that there are."""
        self.removed: dict[str, int] = {}
        """By id, of those that were removed and did not come back, or have not come yet."""
        self.item_ids: list[str] = []
        """By row."""
        self.texts: list[str] = []
        """By row."""
        self.available: list[bool] = []
        """By row, whether the item may be recommended."""
        self.labels = ItemLabels()
        """Brand and category path by row."""
        self.available_count = 0
        self.revision = 0
        """Goes up with every change that can change a ranking."""
        self.removal_callbacks: list[Callable[[int], None]] = []

    def reserve(self, item_id: str) -> int:
        """Return the row that an item has or will have; see `worker.catalogue.Catalogue`."""
        row = self._known_row(item_id)
        if row == NO_ITEM:
            row = self.removed[item_id] = self._add(item_id)
            self.revision += 1
        return row

    def apply(self, changes: Sequence[ItemChange]) -> Applied:
        """Take over changes, the last one of an item counting."""
        latest = {change.item_id: change.item for change in changes}
        applied = Applied(Counter({CatalogueChange.UNCHANGED: len(changes) - len(latest)}))
        for item_id, item in latest.items():
            if item is None:
                applied.done[self._remove(item_id, applied)] += 1
            else:
                applied.done[self._place(item_id, item, applied)] += 1
        if applied.done.total() > applied.done[CatalogueChange.UNCHANGED]:
            self.revision += 1
        for row, available in applied.available.items():
            self.available_count += available - self.available[row]
            self.available[row] = available
        if applied.labels:
            self.labels.tell(applied.labels)
        return applied

    def _known_row(self, item_id: str) -> int:
        return self.rows.get(item_id, self.removed.get(item_id, NO_ITEM))

    def _add(self, item_id: str) -> int:
        self.item_ids.append(item_id)
        self.texts.append(NO_TEXT_YET)
        self.available.append(False)
        self.labels.add_row()
        return len(self.item_ids) - 1

    def _remove(self, item_id: str, applied: Applied) -> CatalogueChange:
        row = self.rows.pop(item_id, NO_ITEM)
        if row == NO_ITEM:
            return CatalogueChange.UNCHANGED
        self.removed[item_id] = row
        applied.available[row] = False
        for callback in self.removal_callbacks:
            callback(row)
        return CatalogueChange.REMOVED

    def _place(self, item_id: str, item: CatalogItem, applied: Applied) -> CatalogueChange:
        row, text = self.rows.get(item_id, NO_ITEM), item_text(item)
        change = CatalogueChange.UNCHANGED
        if row == NO_ITEM:
            row = self.removed.pop(item_id, NO_ITEM)
            row = self.rows[item_id] = self._add(item_id) if row == NO_ITEM else row
            change = CatalogueChange.ADDED
        elif self.texts[row] != text or self.available[row] != item.available:
            change = CatalogueChange.CHANGED
        if self.texts[row] != text:
            self.texts[row] = text
            applied.texts.append(row)
        if self.labels.put(row, item) or change is CatalogueChange.ADDED:
            applied.labels.append(row)
            if change is CatalogueChange.UNCHANGED:
                change = CatalogueChange.CHANGED
        applied.available[row] = item.available
        return change
