"""Segment's ecommerce spec v2, with its documented names, becomes canonical events."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from collecting import KEY, NOW

from schemas.clickstream import ClickstreamEvent, EventType

CLOCK = datetime.fromtimestamp(NOW / 1000, UTC)
PRODUCT = {
    "product_id": "507f1f77",
    "sku": "G-32",
    "category": "Games",
    "name": "Checkers",
    "brand": "Tabletop",
    "variant": "travel",
    "price": 18.99,
    "quantity": 2,
    "coupon": "MAYDEALS",
    "currency": "usd",
    "position": 3,
    "url": "https://shop.example/p/507",
    "image_url": "https://shop.example/p/507.png",
}
OTHER = {"sku": "G-33", "name": "Go", "price": "25.00", "quantity": "1"}


def call(event: str, properties: dict, **more: object) -> dict:
    return {
        "type": "track",
        "event": event,
        "anonymousId": "anon-1",
        "messageId": "ajs-next-1",
        "timestamp": (CLOCK - timedelta(seconds=2)).isoformat().replace("+00:00", "Z"),
        "context": {"sessionId": 77, "page": {"path": "/games"}},
        "integrations": {},
        "properties": properties,
        **more,
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Product Viewed", EventType.VIEW),
        ("Product Clicked", EventType.CLICK),
        ("Product Added to Wishlist", EventType.CLICK),
        ("Product Added", EventType.ADD_TO_CART),
        ("Product Removed", EventType.REMOVE_FROM_CART),
    ],
)
def test_events_on_a_product(collector, name, kind):
    assert collector.send("/v1/segment", call(name, PRODUCT))["event_ids"] == ["ajs-next-1"]
    counted = kind in {EventType.ADD_TO_CART, EventType.REMOVE_FROM_CART}
    assert collector.events() == [
        ClickstreamEvent(
            event_id="ajs-next-1",
            user_id="anon-1",
            type=kind,
            time=NOW - 2000,
            item_id="507f1f77",
            session_id="77",
            price=18.99,
            currency="USD",
            quantity=2 if counted else None,
        )
    ]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Product List Viewed", EventType.IMPRESSION),
        ("Product List Filtered", EventType.IMPRESSION),
        ("Order Completed", EventType.PURCHASE),
    ],
)
def test_events_on_several_products(collector, name, kind):
    properties = {"list_id": "hot_deals", "order_id": "O-1", "currency": "EUR"}
    payload = call(name, {**properties, "products": [PRODUCT, OTHER]})
    answer = collector.send("/v1/segment", payload)
    assert answer["event_ids"] == ["ajs-next-1/0", "ajs-next-1/1"]
    one, two = collector.events()
    assert {one.type, two.type} == {kind}
    assert (one.item_id, one.price, one.currency) == ("507f1f77", 18.99, "USD")
    assert (two.item_id, two.price, two.currency) == ("G-33", 25.0, "EUR")
    assert one.surface == two.surface == "hot_deals"
    assert one.quantity == (2 if kind is EventType.PURCHASE else None)


def test_searches_and_reviews(collector):
    batch = {
        "batch": [
            call("Products Searched", {"query": "blue hotpants"}, messageId="m-1"),
            call(
                "Product Reviewed",
                {"product_id": "507f1f77", "review_id": "k", "review_body": "Fine", "rating": "5"},
                messageId="m-2",
            ),
        ],
        "sentAt": CLOCK.isoformat(),
        "writeKey": KEY,
    }
    response = collector.client.post("/v1/segment", json=batch)
    assert response.status_code == 202
    search, review = sorted(collector.events(), key=lambda event: event.event_id)
    assert (search.type, search.query) == (EventType.SEARCH, "blue hotpants")
    assert (review.type, review.rating, review.text) == (EventType.REVIEW, 5.0, "Fine")


def test_other_calls_are_ignored(collector):
    batch = [
        {"type": "identify", "userId": "u", "traits": {"email": "x@example.org"}},
        {"type": "page", "userId": "u", "name": "Home"},
        call("Cart Viewed", {"products": [PRODUCT]}),
        call("Order Refunded", {"products": [PRODUCT]}),
        call("Promotion Viewed", {"promotion_id": "p"}),
        call("Signed Up", {}),
        call("Product Viewed", PRODUCT),
    ]
    answer = collector.send("/v1/segment", {"batch": batch})
    assert (answer["accepted"], answer["ignored"]) == (1, 6)


@pytest.mark.parametrize("skew_s", [3600, -3600])
def test_a_clock_that_is_wrong_is_corrected(collector, skew_s):
    there = CLOCK + timedelta(seconds=skew_s)
    payload = call(
        "Product Viewed",
        PRODUCT,
        timestamp=(there - timedelta(seconds=9)).isoformat(),
        sentAt=there.isoformat(),
    )
    collector.send("/v1/segment", payload)
    assert collector.events()[0].time == NOW - 9000


@pytest.mark.parametrize(
    ("categories", "preferences", "agreed"),
    [
        ([], {"Advertising": True, "Analytics": True}, True),
        ([], {"Advertising": True, "Analytics": False}, False),
        (["Functional"], {"Advertising": False, "Functional": True}, True),
        (["Functional"], {"Advertising": True, "Functional": False}, False),
        (["Functional"], {"Advertising": True}, False),
        (["Functional"], None, True),
    ],
)
def test_consent_categories(start, categories, preferences, agreed):
    collector = start(consent_categories=categories)
    consent = {"consent": {"categoryPreferences": preferences}}
    answer = collector.send("/v1/segment", call("Product Viewed", PRODUCT, context=consent))
    assert (answer["accepted"], answer["without_consent"]) == (agreed, not agreed)


@pytest.mark.parametrize(
    ("integrations", "agreed"),
    [
        ({"All": False}, False),
        ({"All": False, "innerloop": True}, True),
        ({"All": True, "innerloop": False}, False),
        ({"All": True}, True),
    ],
)
def test_integrations_that_are_switched_off(collector, integrations, agreed):
    payload = call("Product Viewed", PRODUCT, integrations=integrations)
    assert collector.send("/v1/segment", payload)["accepted"] == agreed


@pytest.mark.parametrize(("identity", "user"), [("account", "u-7"), ("device", "anon-1")])
def test_who_the_user_is(start, identity, user):
    collector = start(identity=identity)
    collector.send("/v1/segment", call("Product Viewed", PRODUCT, userId="u-7"))
    assert collector.events()[0].user_id == user


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        (call("Product Viewed", {**PRODUCT, "price": "cheap"}), "properties.price"),
        (call("Product Viewed", {"name": "Checkers"}), "properties.product_id"),
        (call("Order Completed", {"products": []}), "properties.products"),
        (call("Order Completed", {"products": [{**OTHER, "sku": {}}]}),
         "properties.products[0].sku"),
        (call("Products Searched", {"query": ""}), "properties.query"),
        (call("Product Viewed", PRODUCT, anonymousId=None), "anonymousId"),
        (call("Product Viewed", PRODUCT, timestamp="yesterday"), "timestamp"),
        (call("Product Viewed", PRODUCT, context="none"), "context"),
        (call("Product Reviewed", {**PRODUCT, "rating": 9}), "properties.rating"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_as_the_payload_names_it(collector, payload, field):
    assert collector.refused("/v1/segment", payload)["field"] == field
    batch = {"batch": [call("Product Viewed", PRODUCT), payload]}
    error = collector.refused("/v1/segment", batch)
    assert (error["index"], error["field"]) == (1, f"batch[1].{field}")
    assert collector.messages() == []


@pytest.mark.parametrize("added", ["/v1/batch", "/v1/track", "/t", "/b", "/i"])
def test_libraries_can_be_given_the_address(collector, added):
    """What analytics.js (`/t`, …) and the server libraries (`/v1/batch`, …) put behind it."""
    payload = call("Product Viewed", PRODUCT, writeKey=KEY)
    if added == "/i":
        payload = {"type": "identify", "userId": "u", "writeKey": KEY}
    elif added in ("/b", "/v1/batch"):
        payload = {"batch": [payload], "writeKey": KEY}
    response = collector.client.post(
        f"/v1/segment{added}", content=json.dumps(payload), headers={"content-type": "text/plain"}
    )
    assert response.status_code == 202
    assert len(collector.messages()) == (added != "/i")
    labels = {"route": "segment", "status": "202"}
    registry = collector.metrics.registry
    assert registry.get_sample_value("innerloop_collector_requests_total", labels) == 1
    assert collector.client.post(f"/v1/segment{added}", json={}).status_code == 401
