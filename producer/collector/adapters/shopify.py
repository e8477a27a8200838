"""Shopify: standard events of the Web Pixels API, as a pixel's `analytics.subscribe` gets them.

One event as it is, or several: `{"events": […], "customerPrivacy": init.customerPrivacy,
"customer": init.data.customer}`. Names: https://shopify.dev/docs/api/web-pixels-api/standard-events
"""

from __future__ import annotations

from collections.abc import Iterator

from producer.collector.mapping import Draft, Mapped, Received, items_of, joined_id
from producer.collector.payload import Part
from schemas.clickstream import EventType

EVENTS = {
    "product_viewed": EventType.VIEW,
    "collection_viewed": EventType.IMPRESSION,
    "search_submitted": EventType.SEARCH,
    "product_added_to_cart": EventType.ADD_TO_CART,
    "product_removed_from_cart": EventType.REMOVE_FROM_CART,
    "checkout_completed": EventType.PURCHASE,
}


def shopify(payload: Part, received: Received) -> Mapped:
    """Map one event of a pixel, or several."""
    mapped = Mapped()
    events = payload["events"].each() if payload["events"] else [payload]
    for index, event in enumerate(events):
        mapped.add(index, _drafts(payload, event, index, received))
    return mapped


def _drafts(payload: Part, event: Part, index: int, received: Received) -> Iterator[Draft]:
    name = event["name"].text() or ""
    if name not in EVENTS:
        return
    kind, data = EVENTS[name], event["data"]
    if name == "search_submitted":
        draft = Draft(index, {"type": kind})
        draft.text("query", data["searchResult"]["query"])
        yield _common(draft, payload, event, received)
    elif name == "product_viewed":
        draft = Draft(index, {"type": kind})
        _variant(draft, data["productVariant"], received)
        yield _common(draft, payload, event, received)
    elif name == "collection_viewed":
        collection = data["collection"]
        for number, variant in enumerate(items_of(kind, collection["productVariants"])):
            draft = Draft(index, {"type": kind})
            _variant(draft, variant, received)
            draft.text("surface", collection["id"])
            yield _common(draft, payload, event, received, number)
    elif name == "checkout_completed":
        for number, line in enumerate(items_of(kind, data["checkout"]["lineItems"])):
            draft = Draft(index, {"type": kind})
            _variant(draft, line["variant"], received)
            draft.count("quantity", line["quantity"])
            if "currency" not in draft.fields:
                draft.currency(data["checkout"]["currencyCode"])
            yield _common(draft, payload, event, received, number)
    else:
        line = data["cartLine"]
        draft = Draft(index, {"type": kind})
        _variant(draft, line["merchandise"], received)
        draft.count("quantity", line["quantity"])
        yield _common(draft, payload, event, received)


def _variant(draft: Draft, variant: Part, received: Received) -> None:
    item = {
        "product": variant["product"]["id"],
        "variant": variant["id"],
        "sku": variant["sku"],
    }[received.settings.shopify_item]
    draft.text("item_id", item)
    draft.number("price", variant["price"]["amount"])
    draft.currency(variant["price"]["currencyCode"])


def _common(draft: Draft, payload: Part, event: Part, received: Received, number: int = 0) -> Draft:
    """Fill in what all events have."""
    buyer = event["data"]["checkout"]["order"]["customer"]["id"]
    received.user(draft, buyer or payload["customer"]["id"], event["clientId"])
    draft.fields["consent"] = _consent(payload)
    at = event["timestamp"]
    time = at.moment()
    draft.given("time", at, received.time if time is None else time)
    id_ = event["id"].text()
    if id_ is not None:
        draft.given("event_id", event["id"], joined_id(id_, number))
    return draft


def _consent(payload: Part) -> bool:
    privacy = payload["customerPrivacy"]
    return (
        privacy["preferencesProcessingAllowed"].flag() is not False
        and privacy["analyticsProcessingAllowed"].flag() is not False
    )
