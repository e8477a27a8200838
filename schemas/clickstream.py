"""The canonical clickstream event: one user action, as a storefront publishes it."""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec

Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
"""An opaque id: 1 to 128 characters."""

EpochMillis = Annotated[
    int,
    msgspec.Meta(
        ge=0,
        le=2**63 - 1,
        description="Milliseconds since 1970-01-01T00:00:00Z.",
        extra={"logicalType": "timestamp-millis"},
    ),
]
"""Milliseconds since 1970-01-01T00:00:00Z, in 64 bits."""

Price = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
"""An amount of money; the upper bound keeps infinity out."""

Currency = Annotated[str, msgspec.Meta(min_length=3, max_length=3, pattern="^[A-Z]{3}$")]
"""An ISO 4217 code."""


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

SUPPORT_TYPES = frozenset(EventType) - {EventType.IMPRESSION, EventType.REMOVE_FROM_CART}
"""Types that are positive evidence: the model adapts to them, and they count as hits."""

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
    """Unique to the action: a second event with the same id is a copy, and dropped."""
    user_id: Identifier
    type: EventType
    time: EpochMillis
    """When the user acted."""
    item_id: Identifier | None = None
    """What the user acted on; every type but `search` needs it."""
    session_id: Identifier | None = None
    """The visit, as the storefront counts visits."""
    query: Annotated[str, msgspec.Meta(min_length=1, max_length=2048)] | None = None
    """What the user searched for; a `search` needs it."""
    text: Annotated[str, msgspec.Meta(max_length=16384)] | None = None
    """What the user wrote, such as a review."""
    rating: Annotated[float, msgspec.Meta(ge=0, le=5)] | None = None
    """Stars given, 0 to 5."""
    price: Price | None = None
    """Price of one piece, in `currency`."""
    currency: Currency | None = None
    """ISO 4217 code."""
    quantity: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] | None = None
    """Pieces bought, or put in or taken out of the cart."""
    surface: Identifier | None = None
    """Where it happened: home, product page, search, ads, …"""
    recommendation_id: Identifier | None = None
    """The recommendation that showed the item, if one did."""
    consent: bool = True
    """Whether the user agrees to personalisation; an event without is not used."""

    def __post_init__(self) -> None:
        """Check what no single field can say. Raises ValueError (msgspec reports it on decode)."""
        if self.type is EventType.SEARCH:
            if self.query is None:
                raise ValueError("a search event needs the field `query`")
        elif self.item_id is None:
            raise ValueError(f"a {self.type.value} event needs the field `item_id`")
