"""Google Analytics 4: the Measurement Protocol's JSON body with the ecommerce events.

Names: https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference
"""

from __future__ import annotations

from collections.abc import Iterator

from producer.collector.mapping import Draft, Mapped, Received, items_of, joined_id
from producer.collector.payload import Part
from schemas.clickstream import EventType

ITEM_EVENTS = {
    "view_item": EventType.VIEW,
    "view_item_list": EventType.IMPRESSION,
    "view_promotion": EventType.IMPRESSION,
    "select_item": EventType.CLICK,
    "select_promotion": EventType.CLICK,
    "add_to_wishlist": EventType.CLICK,
    "add_to_cart": EventType.ADD_TO_CART,
    "remove_from_cart": EventType.REMOVE_FROM_CART,
    "purchase": EventType.PURCHASE,
}
SEARCH_EVENTS = frozenset({"search", "view_search_results"})

_MAY_BE_WITHOUT_ITEMS = frozenset({"view_promotion", "select_promotion"})
_WITH_QUANTITY = frozenset({EventType.ADD_TO_CART, EventType.REMOVE_FROM_CART, EventType.PURCHASE})


def ga4(payload: Part, received: Received) -> Mapped:
    """Map a body of the Measurement Protocol."""
    mapped = Mapped()
    for index, event in enumerate(payload["events"].each()):
        mapped.add(index, _drafts(payload, event, index, received))
    return mapped


def _drafts(payload: Part, event: Part, index: int, received: Received) -> Iterator[Draft]:
    name, params = event["name"].text() or "", event["params"]
    if name in SEARCH_EVENTS:
        draft = _draft(payload, event, Draft(index, {"type": EventType.SEARCH}), received)
        draft.text("query", params["search_term"])
        yield draft
    elif name in ITEM_EVENTS and (name not in _MAY_BE_WITHOUT_ITEMS or params["items"]):
        kind = ITEM_EVENTS[name]
        for number, item in enumerate(items_of(kind, params["items"])):
            draft = _draft(payload, event, Draft(index, {"type": kind}), received, number)
            draft.text("item_id", item.first("item_id", "item_name"))
            draft.number("price", item["price"])
            draft.currency(item["currency"] or params["currency"])
            if kind in _WITH_QUANTITY:
                draft.count("quantity", item["quantity"])
            place = item.first("item_list_id", "item_list_name")
            draft.text("surface", place or params.first("item_list_id", "item_list_name"))
            cause = item["recommendation_id"] or params["recommendation_id"]
            draft.text("recommendation_id", cause)
            yield draft


def _draft(payload: Part, event: Part, draft: Draft, received: Received, number: int = 0) -> Draft:
    """Fill in what all events have."""
    params = event["params"]
    account, device = payload["user_id"], payload.first("client_id", "app_instance_id")
    received.user(draft, account, device)
    draft.text("session_id", params["session_id"])
    draft.fields["consent"] = _consent(payload)
    at = event["timestamp_micros"] or payload["timestamp_micros"]
    micros, order = at.count(), params["transaction_id"].text()
    draft.given("time", at, received.time if micros is None else micros // 1000)
    if micros is not None or order is not None:
        # The protocol has no event ids: what is sent again has to get the same one.
        made_of = (account.text(), device.text(), event["name"].text(), micros, order)
        draft.fields["event_id"] = joined_id(received.hashed(made_of), draft.index, number)
    return draft


def _consent(payload: Part) -> bool:
    personalised = payload["consent"]["ad_personalization"].text()
    return personalised != "DENIED" and payload["non_personalized_ads"].flag() is not True
