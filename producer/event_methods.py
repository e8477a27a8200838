"""One method for each type of event, with the fields that it has: shared by both trackers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, TypedDict, TypeVar, Unpack

from schemas.clickstream import EventType

ResultT = TypeVar("ResultT")


class Context(TypedDict, total=False):
    """What may be said of every event."""

    event_id: str
    """Made if not given. A second event with the same id is a copy, and dropped."""
    time: int | datetime
    """When the user acted: milliseconds since 1970, or an aware datetime. Now, if not given."""
    session_id: str | None
    """The visit, as the storefront counts visits."""
    surface: str | None
    """Where it happened: home, product page, search, ads, …"""
    recommendation_id: str | None
    """The recommendation that showed the item, if one did."""
    consent: bool
    """Whether the user agrees to personalisation; an event without is not published."""
    traceparent: str | None
    """W3C trace context; OpenTelemetry's current span, if not given and installed."""


class ItemContext(Context, total=False):
    """What may be said of an event on an item, besides."""

    price: float | Decimal | None
    """Price of one piece, in `currency`."""
    currency: str | None
    """ISO 4217 code."""


class CartContext(ItemContext, total=False):
    """What may be said of an event on items in a cart or an order, besides."""

    quantity: int | None
    """Pieces."""


class EventMethods(ABC, Generic[ResultT]):
    """The typed helpers. All raise `EventError`, naming the field, for a wrong value."""

    @abstractmethod
    def track(self, fields: Mapping[str, Any]) -> ResultT:
        """Publish an event with these fields: those of a clickstream event, and `traceparent`."""

    def view(self, user_id: str, item_id: str, **more: Unpack[ItemContext]) -> ResultT:
        """The user looked at an item's page."""
        return self._item(EventType.VIEW, user_id, item_id, more)

    def impression(self, user_id: str, item_id: str, **more: Unpack[ItemContext]) -> ResultT:
        """An item was shown to the user in a list."""
        return self._item(EventType.IMPRESSION, user_id, item_id, more)

    def click(self, user_id: str, item_id: str, **more: Unpack[ItemContext]) -> ResultT:
        """The user clicked on an item in a list."""
        return self._item(EventType.CLICK, user_id, item_id, more)

    def add_to_cart(self, user_id: str, item_id: str, **more: Unpack[CartContext]) -> ResultT:
        """The user put an item into the cart."""
        return self._item(EventType.ADD_TO_CART, user_id, item_id, more)

    def remove_from_cart(self, user_id: str, item_id: str, **more: Unpack[CartContext]) -> ResultT:
        """The user took an item out of the cart."""
        return self._item(EventType.REMOVE_FROM_CART, user_id, item_id, more)

    def purchase(self, user_id: str, item_id: str, **more: Unpack[CartContext]) -> ResultT:
        """The user bought an item; an order of several is one event for each."""
        return self._item(EventType.PURCHASE, user_id, item_id, more)

    def search(self, user_id: str, query: str, **more: Unpack[Context]) -> ResultT:
        """The user searched."""
        return self.track({"type": EventType.SEARCH, "user_id": user_id, "query": query, **more})

    def review(
        self,
        user_id: str,
        item_id: str,
        rating: float | None = None,
        text: str | None = None,
        **more: Unpack[Context],
    ) -> ResultT:
        """The user rated an item, 0 to 5 stars, or wrote about it."""
        given = {"rating": rating, "text": text, **more}
        return self._item(EventType.REVIEW, user_id, item_id, given)

    def _item(
        self, kind: EventType, user_id: str, item_id: str, more: Mapping[str, Any]
    ) -> ResultT:
        return self.track({"type": kind, "user_id": user_id, "item_id": item_id, **more})
