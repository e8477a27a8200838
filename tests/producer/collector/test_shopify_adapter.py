"""Standard events of Shopify's Web Pixels API become canonical events."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from collecting import NOW

from schemas.clickstream import ClickstreamEvent, EventType

AT = datetime.fromtimestamp((NOW - 500) / 1000, UTC).isoformat().replace("+00:00", "Z")
VARIANT = {
    "id": "4411",
    "image": {"src": "https://cdn.example/boots.png"},
    "price": {"amount": 39.9, "currencyCode": "EUR"},
    "product": {
        "id": "8822",
        "title": "Rain boots",
        "untranslatedTitle": "Rain boots",
        "type": "Shoes",
        "url": "/products/boots",
        "vendor": "Dry & Co",
    },
    "sku": "BOOT-42",
    "title": "green / 42",
    "untranslatedTitle": "green / 42",
}
OTHER = {
    "id": 4412,
    "price": {"amount": "120.00", "currencyCode": "EUR"},
    "product": {"id": 8823},
    "sku": "COAT",
}
LINE = {
    "cost": {"totalAmount": {"amount": 79.8, "currencyCode": "EUR"}},
    "merchandise": VARIANT,
    "quantity": 2,
}


def event(name: str, data: dict, **more: object) -> dict:
    return {
        "id": "sh-e4f5",
        "clientId": "client-1",
        "name": name,
        "seq": 3,
        "timestamp": AT,
        "type": "standard",
        "context": {"document": {"location": {"href": "https://shop.example/products/boots"}}},
        "data": data,
        **more,
    }


@pytest.mark.parametrize(
    ("name", "data", "kind", "quantity"),
    [
        ("product_viewed", {"productVariant": VARIANT}, EventType.VIEW, None),
        ("product_added_to_cart", {"cartLine": LINE}, EventType.ADD_TO_CART, 2),
        ("product_removed_from_cart", {"cartLine": LINE}, EventType.REMOVE_FROM_CART, 2),
    ],
)
def test_events_on_a_product(collector, name, data, kind, quantity):
    assert collector.send("/v1/shopify", event(name, data))["event_ids"] == ["sh-e4f5/0"]
    assert collector.events() == [
        ClickstreamEvent(
            event_id="sh-e4f5/0",
            user_id="client-1",
            type=kind,
            time=NOW - 500,
            item_id="8822",
            price=39.9,
            currency="EUR",
            quantity=quantity,
        )
    ]


def test_a_checkout_of_several_lines(collector):
    checkout = {
        "currencyCode": "EUR",
        "order": {"id": "O-1", "customer": {"id": "c-9", "isFirstOrder": True}},
        "lineItems": [
            {"id": "1", "quantity": 2, "title": "Rain boots", "variant": VARIANT},
            {"id": "2", "quantity": 1, "title": "Coat", "variant": {**OTHER, "price": None}},
        ],
        "token": "t",
        "totalPrice": {"amount": 199.8, "currencyCode": "EUR"},
    }
    collector.send("/v1/shopify", event("checkout_completed", {"checkout": checkout}))
    boots, coat = sorted(collector.events(), key=lambda each: each.event_id)
    assert {boots.type, coat.type} == {EventType.PURCHASE}
    assert {boots.user_id, coat.user_id} == {"c-9"}
    assert (boots.item_id, boots.quantity, boots.price) == ("8822", 2, 39.9)
    assert (coat.item_id, coat.quantity, coat.price, coat.currency) == ("8823", 1, None, "EUR")


def test_collections_and_searches(collector):
    collection = {"id": "rain", "title": "Rain", "productVariants": [VARIANT, OTHER]}
    search = {"query": "rain boots", "productVariants": [VARIANT]}
    events = [
        event("collection_viewed", {"collection": collection}),
        event("search_submitted", {"searchResult": search}, id="sh-z"),
    ]
    assert collector.send("/v1/shopify", {"events": events})["accepted"] == 3
    boots, coat, searched = sorted(collector.events(), key=lambda each: each.event_id)
    assert {boots.type, coat.type} == {EventType.IMPRESSION}
    assert (boots.surface, coat.item_id, coat.price) == ("rain", "8823", 120.0)
    assert (searched.type, searched.query) == (EventType.SEARCH, "rain boots")


def test_other_events_are_ignored(collector):
    names = ("page_viewed", "cart_viewed", "checkout_started", "payment_info_submitted", "mine")
    events = [event(name, {}) for name in names]
    answer = collector.send("/v1/shopify", {"events": events})
    assert (answer["accepted"], answer["ignored"]) == (0, 5)


@pytest.mark.parametrize(
    ("item", "expected"), [("product", "8822"), ("variant", "4411"), ("sku", "BOOT-42")]
)
def test_what_the_item_is(start, item, expected):
    collector = start(shopify_item=item)
    collector.send("/v1/shopify", event("product_viewed", {"productVariant": VARIANT}))
    assert collector.events()[0].item_id == expected


@pytest.mark.parametrize(("identity", "user"), [("account", "c-9"), ("device", "client-1")])
def test_who_the_user_is(start, identity, user):
    collector = start(identity=identity)
    viewed = event("product_viewed", {"productVariant": VARIANT})
    collector.send("/v1/shopify", {"events": [viewed], "customer": {"id": "c-9"}})
    assert collector.events()[0].user_id == user


@pytest.mark.parametrize(
    ("privacy", "agreed"),
    [
        ({"analyticsProcessingAllowed": True, "preferencesProcessingAllowed": True}, True),
        ({"analyticsProcessingAllowed": False, "preferencesProcessingAllowed": True}, False),
        ({"analyticsProcessingAllowed": True, "preferencesProcessingAllowed": False}, False),
        ({"marketingAllowed": False, "saleOfDataAllowed": False}, True),
        (None, True),
    ],
)
def test_consent(collector, privacy, agreed):
    viewed = event("product_viewed", {"productVariant": VARIANT})
    answer = collector.send("/v1/shopify", {"events": [viewed], "customerPrivacy": privacy})
    assert (answer["accepted"], answer["without_consent"]) == (agreed, not agreed)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (event("product_viewed", {}), "data.productVariant.product.id"),
        (event("product_viewed", {"productVariant": []}), "data.productVariant"),
        (event("product_viewed", {"productVariant": VARIANT}, timestamp="now"), "timestamp"),
        (event("product_viewed", {"productVariant": VARIANT}, clientId=None), "clientId"),
        (event("product_added_to_cart", {"cartLine": {**LINE, "quantity": "x"}}),
         "data.cartLine.quantity"),
        (event("checkout_completed", {"checkout": {"lineItems": []}}), "data.checkout.lineItems"),
        (event("search_submitted", {"searchResult": {}}), "data.searchResult.query"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_as_the_payload_names_it(collector, wrong, field):
    assert collector.refused("/v1/shopify", wrong)["field"] == field
    error = collector.refused("/v1/shopify", {"events": [event("page_viewed", {}), wrong]})
    assert (error["index"], error["field"]) == (1, f"events[1].{field}")
    assert collector.messages() == []
