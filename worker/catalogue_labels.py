"""What items are filed under, by row: brand and category path, each text stored once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from weakref import WeakSet

from schemas.catalog import CatalogItem, category_text

NO_LABEL = 0
"""Code of having no brand, or no category."""


class LabelFollower(Protocol):
    """Who wants to know when items are filed under something else."""

    def relabel(self, rows: Sequence[int]) -> None:
        """Take over the labels of these rows."""
        ...


class ItemLabels:
    """Brand and category of items by row, as codes of texts."""

    def __init__(self) -> None:
        self.brands: list[str] = [""]
        """Names of brands by code."""
        self.categories: list[str] = [""]
        """Category paths by code, as `schemas.catalog.category_text` writes them."""
        self.brand_of: list[int] = []
        """Code by row."""
        self.category_of: list[int] = []
        """Code by row."""
        self._brand_codes = {"": NO_LABEL}
        self._category_codes = {"": NO_LABEL}
        self._followers: WeakSet[LabelFollower] = WeakSet()

    def __len__(self) -> int:
        return len(self.brand_of)

    def add_row(self) -> None:
        """Have one more row, of an item without labels."""
        self.brand_of.append(NO_LABEL)
        self.category_of.append(NO_LABEL)

    def put(self, row: int, item: CatalogItem) -> bool:
        """File an item; return whether it was filed otherwise before."""
        brand = _code(item.brand or "", self._brand_codes, self.brands)
        category = _code(category_text(item), self._category_codes, self.categories)
        if self.brand_of[row] == brand and self.category_of[row] == category:
            return False
        self.brand_of[row], self.category_of[row] = brand, category
        return True

    def follow(self, follower: LabelFollower) -> None:
        """Have someone told of changes from now on, for as long as there is another reference."""
        self._followers.add(follower)

    def tell(self, rows: Sequence[int]) -> None:
        """Tell the followers that the items of these rows are filed otherwise."""
        for follower in self._followers:
            follower.relabel(rows)


def _code(text: str, codes: dict[str, int], texts: list[str]) -> int:
    code = codes.get(text)
    if code is None:
        code = codes[text] = len(texts)
        texts.append(text)
    return code
