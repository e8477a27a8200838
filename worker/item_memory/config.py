"""Sizes and time constants of an item memory: part of every bundle's manifest."""

from __future__ import annotations

from typing import Annotated

import msgspec

Size = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]

WINDOW = 5
"""Most items before an item that it is paired with."""


class MemoryConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes and time constants of an item memory."""

    neighbours: Size = 64
    """Most followers, and most predecessors, that are kept of an item."""
    recent: Size = 10
    """How many of a user's last items are asked for their neighbours."""
    position_decay: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.8
    """Factor per step back among them."""
    trending: Annotated[int, msgspec.Meta(ge=0)] = 50
    """Items with the highest trend that are candidates for everybody."""
    dense: Annotated[int, msgspec.Meta(ge=1)] = 50
    """Items with the highest inner product that are candidates."""
    trend_half_life: Seconds = 86_400.0
    """After this time, in seconds, an event counts half in an item's trend."""
    half_life: Seconds | None = None
    """After this time, in seconds, a pair of items counts half; None never forgets but by
    eviction."""
