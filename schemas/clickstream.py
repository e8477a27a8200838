"""The canonical clickstream event: one user action, as a storefront publishes it."""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
"""An opaque id: 1 to 128 characters."""

EpochMillis = Annotated[int, msgspec.Meta(ge=0)]
"""Milliseconds since 1970-01-01T00:00:00Z."""


class EventType(enum.StrEnum):
    """What the user did. The order is part of a model bundle's contract: append only."""

    VIEW = "view"
    IMPRESSION = "impression"
    CLICK = "click"
    ADD_TO_CART = "add_to_cart"
    REMOVE_FROM_CART = "remove_from_cart"
    PURCHASE = "purchase"
    SEARCH = "search"
    REVIEW = "review"


EVENT_TYPE_INDEX: dict[EventType, int] = {kind: index for index, kind in enumerate(EventType)}
"""Event type → row of a model's event-type table."""

EVENT_TYPE_ALIASES: dict[str, EventType] = {
    "pv": EventType.VIEW,
    "page_view": EventType.VIEW,
    "list_view": EventType.IMPRESSION,
    "fav": EventType.CLICK,
    "cart": EventType.ADD_TO_CART,
    "addtocart": EventType.ADD_TO_CART,
    "removefromcart": EventType.REMOVE_FROM_CART,
    "cancel": EventType.REMOVE_FROM_CART,
    "buy": EventType.PURCHASE,
    "transaction": EventType.PURCHASE,
    "order": EventType.PURCHASE,
    "rate": EventType.REVIEW,
    "rating": EventType.REVIEW,
}
"""Names that public datasets use for the same actions."""


def parse_event_type(name: str) -> EventType:
    """Return the event type called `name`, by its own name or a dataset's alias for it.

    Raises:
        ValueError: the name is neither.
    """
    key = name.strip().lower()
    if key in EVENT_TYPE_ALIASES:
        return EVENT_TYPE_ALIASES[key]
    try:
        return EventType(key)
    except ValueError:
        known = ", ".join([*EventType, *EVENT_TYPE_ALIASES])
        raise ValueError(f"event type {name!r} is unknown; use one of: {known}") from None


class ClickstreamEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One user action. Key of the `clickstream` topic: `user_id`.

    A `search` needs `query`; every other type needs `item_id`. Unknown fields are ignored, so a
    newer storefront can talk to an older worker.
    """

    event_id: Identifier
    user_id: Identifier
    type: EventType
    time: EpochMillis
    item_id: Identifier | None = None
    session_id: Identifier | None = None
    query: Annotated[str, msgspec.Meta(min_length=1, max_length=2048)] | None = None
    text: Annotated[str, msgspec.Meta(max_length=16384)] | None = None
    rating: Annotated[float, msgspec.Meta(ge=0, le=5)] | None = None
    price: Annotated[float, msgspec.Meta(ge=0)] | None = None
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")] | None = None
    quantity: Annotated[int, msgspec.Meta(ge=0)] | None = None
    surface: Identifier | None = None
    recommendation_id: Identifier | None = None
    consent: bool = True

    def __post_init__(self) -> None:
        """Check what no single field can say. Raises ValueError (msgspec reports it on decode)."""
        if self.type is EventType.SEARCH:
            if self.query is None:
                raise ValueError("a search event needs the field `query`")
        elif self.item_id is None:
            raise ValueError(f"a {self.type.value} event needs the field `item_id`")
