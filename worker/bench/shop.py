"""A made-up shop: items, users with a taste, and their events, drawn from a seed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.catalog import CatalogItem
from schemas.clickstream import ClickstreamEvent, EventType

GROUP = 40
"""Items of a kind: users with a taste for one of them like the others."""

_TASTE = 0.7
"""Share of a user's events on items of the kind that the user likes."""

_KINDS = (EventType.VIEW, EventType.CLICK, EventType.ADD_TO_CART, EventType.PURCHASE)
_KIND_SHARES = (0.7, 0.15, 0.1, 0.05)


@dataclass(frozen=True)
class Draws:
    """n events as arrays."""

    users: NDArray[np.int64]
    items: NDArray[np.int64]
    kinds: NDArray[np.int64]
    """Rows of the event types drawn from."""


class Shop:
    """Draws events: users at random, items mostly of the user's kind, popular ones more often.

    Args:
        item_ids: the catalogue, most popular first.
        users: how many there are.
        popularity: weight of each item; None for 1/rank (Zipf's law).
    """

    def __init__(
        self, item_ids: Sequence[str], users: int, popularity: NDArray[np.float64] | None = None
    ) -> None:
        self.item_ids = item_ids
        self.users = users
        n = len(item_ids)
        weights = 1.0 / np.arange(1, n + 1) if popularity is None else popularity
        self._cumulative = np.cumsum(weights / weights.sum())

    @classmethod
    def of_size(cls, items: int, users: int) -> Shop:
        """Return a shop of so many items, the most popular first."""
        return cls([f"i{n:07d}" for n in range(items)], users)

    def draw(self, n: int, seed: int) -> Draws:
        """Draw n events; the same for the same seed."""
        rng = np.random.default_rng(seed)
        users = rng.integers(self.users, size=n)
        favourites = self._popular(np.random.default_rng(0).random(self.users))[users]
        groups = -(-len(self.item_ids) // GROUP)
        # The items of a kind are spread over all popularities.
        similar = favourites % groups + groups * np.floor(GROUP * rng.random(n) ** 2).astype(int)
        similar = np.where(similar < len(self.item_ids), similar, favourites)
        items = np.where(rng.random(n) < _TASTE, similar, self._popular(rng.random(n)))
        return Draws(users, items, rng.choice(len(_KINDS), size=n, p=_KIND_SHARES))

    def events(
        self, n: int, seed: int, label: str, times: Sequence[int] | None = None
    ) -> list[ClickstreamEvent]:
        """Draw n events.

        Args:
            n: how many.
            seed: of the draw.
            label: the ids are this and the event's number.
            times: of the events, milliseconds since the epoch; None for now.
        """
        drawn = self.draw(n, seed)
        now = time.time_ns() // 1_000_000
        columns = zip(
            drawn.users.tolist(),
            drawn.items.tolist(),
            drawn.kinds.tolist(),
            times if times is not None else [now] * n,
            strict=True,
        )
        return [
            ClickstreamEvent(
                event_id=f"{label}{i}",
                user_id=self.user_id(user),
                type=_KINDS[kind],
                time=at,
                item_id=self.item_ids[item],
                session_id=f"s{user:015d}",
                surface="product_page",
            )
            for i, (user, item, kind, at) in enumerate(columns)
        ]

    @staticmethod
    def user_id(number: int) -> str:
        """Return the id of a user."""
        return f"u{number:015d}"

    def items(self) -> list[CatalogItem]:
        """Return the catalogue."""
        groups = -(-len(self.item_ids) // GROUP)
        return [
            CatalogItem(item_id=item_id, title=f"kind {n % groups} number {n // groups}")
            for n, item_id in enumerate(self.item_ids)
        ]

    def _popular(self, uniform: NDArray[np.float64]) -> NDArray[np.int64]:
        found = np.searchsorted(self._cumulative, uniform, side="right")
        return np.minimum(found, len(self.item_ids) - 1)


def encoded(events: Sequence[ClickstreamEvent]) -> list[tuple[bytes, bytes]]:
    """Return key and value of each event's record, as JSON."""
    encode = msgspec.json.Encoder().encode
    return [(event.user_id.encode(), encode(event)) for event in events]
