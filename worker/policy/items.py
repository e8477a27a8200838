"""What a policy makes of each item, by row: kept level with the catalogue, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from schemas.settings.policy import LEVEL_SEPARATOR, PolicySettings, Restriction
from worker.catalogue_items import CatalogueItems
from worker.ranking_index.narrowing import WORD, mask_of, words_for
from worker.rows import NO_ITEM

Flags = NDArray[np.bool_]

EVERYWHERE = 0
"""Group of the events on surfaces that no restriction names."""

_LEAST_WORDS = 16


class _Table(NamedTuple):
    """What codes of labels mean to the settings, a row a code."""

    allowed: Flags
    """Of categories: whether each group lists what is filed there, (codes, groups)."""
    fits: Flags
    """Whether each rule is for what is filed there, (codes, rules)."""


class PolicyItems:
    """Masks, amounts and brands of a catalogue's items, for all models that share the items.

    An item that comes, or is filed elsewhere, costs a look at its labels, whatever the number of
    items.

    Args:
        settings: the policy.
        items: the catalogue's.
    """

    def __init__(self, settings: PolicySettings, items: CatalogueItems) -> None:
        self._items = items
        self._rules = settings.rules
        named = dict.fromkeys(r.surface for r in settings.restrictions if r.surface is not None)
        self.group_of = {surface: 1 + place for place, surface in enumerate(named)}
        """Group by surface; events on others are in `EVERYWHERE`."""
        self._restrictions: list[list[Restriction]] = [
            [r for r in settings.restrictions if r.surface is None or r.surface == surface]
            for surface in (None, *named)
        ]
        self._by_category = _Table(*_no_codes(len(self._restrictions), len(self._rules)))
        self._by_brand = _Table(*_no_codes(0, len(self._rules)))
        self._open = np.array([not of_group for of_group in self._restrictions])
        self.revision = 0
        """Goes up when anything changes."""
        self.allowed = np.empty((len(self._restrictions), 0), np.uint64)
        """See `worker.ranking_index.narrowing.Narrowing`."""
        self._added = np.empty(0, np.float32)
        self.brands = np.empty(0, np.int32)
        """Code of the brand by row, 0 for none."""
        self._mask: tuple[tuple[int, int], Tensor] | None = None
        self.relabel(range(len(items.item_ids)))
        items.labels.follow(self)

    @property
    def restricts(self) -> bool:
        """Whether there is a group that does not list everything."""
        return not bool(self._open.all())

    @property
    def brand_count(self) -> int:
        """Codes of brands that there are, that of no brand included."""
        return len(self._items.labels.brands)

    @property
    def added(self) -> NDArray[np.float32] | None:
        """What is added to the score by row; None where there are no rules."""
        return self._added if self._rules else None

    def level(self) -> None:
        """Have entries for all rows of the catalogue."""
        words = words_for(len(self._items.item_ids))
        have = self.allowed.shape[1]
        if words <= have:
            return
        more = max(words, 2 * have, _LEAST_WORDS) - have
        fresh = np.zeros((len(self._open), more), np.uint64)
        fresh[self._open] = ~np.uint64(0)
        self.allowed = np.concatenate([self.allowed, fresh], axis=1)
        self._added = np.concatenate([self._added, np.zeros(WORD * more, np.float32)])
        self.brands = np.concatenate([self.brands, np.zeros(WORD * more, np.int32)])
        self.revision += 1

    def relabel(self, rows: Sequence[int]) -> None:
        """Take over the labels of these rows."""
        self.level()
        n, labels = len(rows), self._items.labels
        if not n:
            return
        self._learn_codes()
        at = np.fromiter(rows, np.int64, n)
        brands = np.fromiter((labels.brand_of[row] for row in rows), np.int32, n)
        categories = np.fromiter((labels.category_of[row] for row in rows), np.int32, n)
        self.brands[at] = brands
        if self.restricts:
            _set_bits(self.allowed, at, self._by_category.allowed[categories])
        if self._rules:
            fits = self._by_brand.fits[brands] & self._by_category.fits[categories]
            fits &= self._named(at)
            self._added[at] = fits @ np.array([rule.add for rule in self._rules], np.float32)
        self.revision += 1

    def mask(self, rows: int, device: torch.device) -> Tensor:
        """Return by group and row whether the row may be listed, (groups, rows)."""
        key = (self.revision, rows)
        if self._mask is None or self._mask[0] != key or self._mask[1].device != device:
            narrow = mask_of(self.allowed, rows)
            self._mask = (key, torch.from_numpy(narrow).to(device))
        return self._mask[1]

    def _named(self, rows: NDArray[np.int64]) -> Flags:
        """Return whether each rule may be for each of these rows by their items' ids."""
        items = self._items
        fits = np.ones((len(rows), len(self._rules)), np.bool_)
        for place, rule in enumerate(self._rules):
            if rule.item is not None:
                row = items.rows.get(rule.item, items.removed.get(rule.item, NO_ITEM))
                fits[:, place] = rows == row
        return fits

    def _learn_codes(self) -> None:
        """Have entries for all brands and categories."""
        labels = self._items.labels
        more = labels.categories[len(self._by_category.fits) :]
        if more:
            allowed = [[_lists(group, text) for group in self._restrictions] for text in more]
            fits = [[_below(text, rule.category) for rule in self._rules] for text in more]
            self._by_category = _extended(self._by_category, allowed, fits)
        new = labels.brands[len(self._by_brand.fits) :]
        if new:
            fits = [[rule.brand is None or rule.brand == name for rule in self._rules]
                    for name in new]  # fmt: skip
            self._by_brand = _extended(self._by_brand, [[] for _ in new], fits)


def _no_codes(groups: int, rules: int) -> tuple[Flags, Flags]:
    return np.empty((0, groups), np.bool_), np.empty((0, rules), np.bool_)


def _extended(table: _Table, allowed: list[list[bool]], fits: list[list[bool]]) -> _Table:
    n = len(fits)
    more = (np.array(allowed, np.bool_).reshape(n, -1), np.array(fits, np.bool_).reshape(n, -1))
    return _Table(*(np.concatenate(pair) for pair in zip(table, more, strict=True)))


def _below(category: str, path: str | None) -> bool:
    """Whether a category path is another one, or below it; None is above all."""
    return path is None or category == path or category.startswith(path + LEVEL_SEPARATOR)


def _lists(restrictions: Sequence[Restriction], category: str) -> bool:
    for restriction in restrictions:
        paths = restriction.categories
        if paths and not any(_below(category, path) for path in paths):
            return False
        if any(_below(category, path) for path in restriction.except_categories):
            return False
    return True


@njit(cache=True)
def _set_bits(
    allowed: NDArray[np.uint64], rows: NDArray[np.int64], flags: NDArray[np.bool_]
) -> None:
    """Set the bits of rows, (n,), to flags, (n, groups)."""
    for i in range(len(rows)):
        word, bit = rows[i] // WORD, np.uint64(1) << np.uint64(rows[i] % WORD)
        for group in range(allowed.shape[0]):
            if flags[i, group]:
                allowed[group, word] |= bit
            else:
                allowed[group, word] &= ~bit
