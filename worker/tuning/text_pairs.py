"""Pairs of texts whose items the same user acted on within a short window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.data import EventLog


@dataclass(frozen=True)
class TextPairs:
    """Pairs of different texts, in no order, each with its weight."""

    left: NDArray[np.int32]
    """Text codes, (n,)."""
    right: NDArray[np.int32]
    weights: NDArray[np.float64]
    """How strongly the two belong together: summed over all users, (n,)."""

    def __len__(self) -> int:
        return len(self.left)

    def where(self, mask: NDArray[np.bool_]) -> TextPairs:
        """Return the pairs where `mask` (n,) is true."""
        return TextPairs(self.left[mask], self.right[mask], self.weights[mask])

    def masses(self, texts: int) -> NDArray[np.float64]:
        """Return the weight of all pairs that each text is in, (texts,)."""
        both = np.concatenate([self.left, self.right])
        masses = np.zeros(texts, np.float64)
        np.add.at(masses, both, np.concatenate([self.weights, self.weights]))
        return masses

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
        """Draw pairs with replacement, with probability ∝ weight; return their places."""
        cumulative = np.cumsum(self.weights)
        drawn = rng.random(count) * cumulative[-1]
        # Never beyond the last pair, whatever the sum's rounding.
        places: NDArray[np.intp] = np.searchsorted(cumulative[:-1], drawn, side="right")
        return places


def distinct_texts(texts: list[str]) -> tuple[list[str], NDArray[np.int32]]:
    """Return the distinct texts in order of appearance, and each text's place among them."""
    places: dict[str, int] = {}
    codes = np.array([places.setdefault(text, len(places)) for text in texts], np.int32)
    return list(places), codes


def co_acted_pairs(log: EventLog, text_of_item: NDArray[np.int32], window: int) -> TextPairs:
    """Pair what each user acted on within `window` events, as co-visitation counts do.

    Two events at distance k of one user add 1/k to the weight of their texts' pair. Events whose
    texts are equal are no pair: there would be nothing to learn from it.

    Args:
        log: events in time order.
        text_of_item: text code of each item; −1 leaves the item out.
        window: how far apart two events of the same user may be.
    """
    by_user = np.argsort(log.users, kind="stable")
    users, texts = log.users[by_user], text_of_item[log.items[by_user]]
    number = int(text_of_item.max(initial=0)) + 1
    keys, weights = [], []
    for distance in range(1, window + 1):
        one, other = texts[:-distance], texts[distance:]
        same_user = users[:-distance] == users[distance:]
        paired = same_user & (one != other) & (one >= 0) & (other >= 0)
        low = np.minimum(one, other)[paired].astype(np.int64)
        keys.append(low * number + np.maximum(one, other)[paired])
        weights.append(np.full(len(low), 1.0 / distance))
    distinct, which = np.unique(np.concatenate(keys), return_inverse=True)
    total = np.bincount(which, np.concatenate(weights), len(distinct))
    return TextPairs(
        left=(distinct // number).astype(np.int32),
        right=(distinct % number).astype(np.int32),
        weights=total.astype(np.float64, copy=False),
    )
