"""Segment: track calls of the ecommerce spec v2, single or in a batch.

Names: https://segment.com/docs/connections/spec/ecommerce/v2 and https://segment.com/docs/connections/spec/track
"""

from __future__ import annotations

from collections.abc import Iterator

from producer.collector.mapping import (
    Draft,
    Mapped,
    Received,
    corrected_time,
    items_of,
    joined_id,
)
from producer.collector.payload import Part
from schemas.clickstream import EventType

PRODUCT_EVENTS = {
    "Product Viewed": EventType.VIEW,
    "Product Clicked": EventType.CLICK,
    "Product Added to Wishlist": EventType.CLICK,
    "Product Added": EventType.ADD_TO_CART,
    "Product Removed": EventType.REMOVE_FROM_CART,
    "Product Reviewed": EventType.REVIEW,
}
LIST_EVENTS = {
    "Product List Viewed": EventType.IMPRESSION,
    "Product List Filtered": EventType.IMPRESSION,
    "Order Completed": EventType.PURCHASE,
}
SEARCH_EVENT = "Products Searched"

_WITH_QUANTITY = frozenset({EventType.ADD_TO_CART, EventType.REMOVE_FROM_CART, EventType.PURCHASE})
_DESTINATION = "innerloop"


def segment(payload: Part, received: Received) -> Mapped:
    """Map one call, or the calls of a batch."""
    mapped = Mapped()
    calls = payload["batch"].each() if payload["batch"] else [payload]
    for index, call in enumerate(calls):
        sent = call["sentAt"] or payload["sentAt"]
        mapped.add(index, _drafts(call, index, sent, received))
    return mapped


def _drafts(call: Part, index: int, sent: Part, received: Received) -> Iterator[Draft]:
    if (call["type"].text() or "track") != "track":
        return
    name, properties = call["event"].text() or "", call["properties"]
    if name == SEARCH_EVENT:
        draft = _draft(call, Draft(index, {"type": EventType.SEARCH}), sent, received)
        draft.text("query", properties["query"])
        yield draft
    elif name in PRODUCT_EVENTS:
        draft = _draft(call, Draft(index, {"type": PRODUCT_EVENTS[name]}), sent, received)
        _product(draft, properties, properties)
        if name == "Product Reviewed":
            draft.number("rating", properties["rating"])
            draft.text("text", properties["review_body"])
        yield draft
    elif name in LIST_EVENTS:
        kind = LIST_EVENTS[name]
        for number, product in enumerate(items_of(kind, properties["products"])):
            draft = _draft(call, Draft(index, {"type": kind}), sent, received, number)
            _product(draft, product, properties)
            yield draft


def _product(draft: Draft, product: Part, properties: Part) -> None:
    draft.text("item_id", product.first("product_id", "sku"))
    draft.number("price", product["price"])
    draft.currency(product["currency"] or properties["currency"])
    if draft.fields["type"] in _WITH_QUANTITY:
        draft.count("quantity", product["quantity"])
    draft.text("surface", properties["list_id"])
    draft.text("recommendation_id", product["recommendation_id"] or properties["recommendation_id"])


def _draft(
    call: Part, draft: Draft, sent: Part, received: Received, number: int | None = None
) -> Draft:
    """Fill in what all calls have."""
    received.user(draft, call["userId"], call["anonymousId"])
    draft.text("session_id", call["context"]["sessionId"])
    draft.fields["consent"] = _consent(call, received)
    at = call.first("originalTimestamp", "timestamp")
    created = at.moment()
    time = received.time
    if created is not None:
        time = corrected_time(created, sent.moment(), received.time)
    draft.given("time", at, time)
    message = call["messageId"]
    id_ = message.text()
    if id_ is not None:
        event_id = joined_id(id_) if number is None else joined_id(id_, number)
        draft.given("event_id", message, event_id)
    return draft


def _consent(call: Part, received: Received) -> bool:
    """Return whether consent categories and integrations let us use the call."""
    preferences = call["context"]["consent"]["categoryPreferences"]
    if preferences:
        if not isinstance(preferences.value, dict):
            raise preferences.wrong("an object")
        wanted = received.settings.consent_categories or tuple(preferences.value)
        if not all(preferences[name].flag() for name in wanted):
            return False
    integrations = call["integrations"]
    if integrations["All"].value is False:
        return bool(integrations[_DESTINATION].value)
    return integrations[_DESTINATION].value is not False
