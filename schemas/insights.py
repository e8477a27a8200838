"""Messages of the windowed side streams: trending items and what became of recommendations."""

from __future__ import annotations

import msgspec

from schemas.clickstream import EpochMillis, EventType, Identifier

ALL_SURFACES = "*"
"""Stands for all surfaces together, events without one included."""


class TrendingItem(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An item and its time-decayed count of events."""

    item_id: Identifier
    score: float


class Trending(msgspec.Struct, frozen=True, kw_only=True):
    """The items most acted on in a window. Key of the `trending` topic: `surface`."""

    surface: Identifier
    """Where the events happened, as in `ClickstreamEvent.surface`; `*` is all surfaces together."""
    window_start: EpochMillis
    window_end: EpochMillis
    """First millisecond after the window."""
    items: list[TrendingItem]
    """Highest score first."""


class RecommendationOutcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An action credited to a recommendation. Key of `recommendation-outcomes`: `user_id`."""

    recommendation_id: Identifier
    user_id: Identifier
    item_id: Identifier
    event_id: Identifier
    """The action's event."""
    type: EventType
    position: int
    """Rank of the item in the recommendation, from 0."""
    variant: str
    """The recommendation's `variant`."""
    time: EpochMillis
    """When the user acted."""
    revenue: float | None = None
    """Price times quantity of a purchase, in `currency`."""
    currency: str | None = None
    """ISO 4217 code."""
