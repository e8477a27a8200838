"""GA4's Measurement Protocol, with its documented names, becomes canonical events."""

from __future__ import annotations

import pytest
from collecting import KEY, NOW

from schemas.clickstream import ClickstreamEvent, EventType

BOOTS = {
    "item_id": "SKU-77",
    "item_name": "Rain boots",
    "affiliation": "Main shop",
    "coupon": "WET10",
    "discount": 2.5,
    "index": 0,
    "item_brand": "Dry & Co",
    "item_category": "Shoes",
    "item_category2": "Boots",
    "item_list_id": "related_products",
    "item_list_name": "Related products",
    "item_variant": "green",
    "location_id": "L_1",
    "price": 39.9,
    "quantity": 2,
}
COAT = {"item_id": "SKU-78", "item_name": "Coat", "price": "120.00", "quantity": "1"}


def body(name: str, params: dict, **more: object) -> dict:
    return {
        "client_id": "1234567.7654321",
        "timestamp_micros": (NOW - 60) * 1000,
        "events": [
            {"name": name, "params": {"session_id": "42", "engagement_time_msec": 100, **params}}
        ],
        **more,
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("view_item", EventType.VIEW),
        ("view_item_list", EventType.IMPRESSION),
        ("select_item", EventType.CLICK),
        ("view_promotion", EventType.IMPRESSION),
        ("select_promotion", EventType.CLICK),
        ("add_to_wishlist", EventType.CLICK),
        ("add_to_cart", EventType.ADD_TO_CART),
        ("remove_from_cart", EventType.REMOVE_FROM_CART),
        ("purchase", EventType.PURCHASE),
    ],
)
def test_events_with_items(collector, name, kind):
    params = {"currency": "EUR", "value": 199.8, "items": [BOOTS]}
    assert collector.send("/v1/ga4", body(name, params))["accepted"] == 1
    (event,) = collector.events()
    counted = kind in {EventType.ADD_TO_CART, EventType.REMOVE_FROM_CART, EventType.PURCHASE}
    assert event == ClickstreamEvent(
        event_id=event.event_id,
        user_id="1234567.7654321",
        type=kind,
        time=NOW - 60,
        item_id="SKU-77",
        session_id="42",
        price=39.9,
        currency="EUR",
        quantity=2 if counted else None,
        surface="related_products",
    )


def test_a_purchase_of_several_items_is_several_events_with_lasting_ids(collector):
    params = {"transaction_id": "T-1", "currency": "eur", "items": [BOOTS, COAT]}
    first = collector.send("/v1/ga4", body("purchase", params))
    assert first["accepted"] == 2
    assert len(set(first["event_ids"])) == 2
    boots, coat = collector.events()
    assert (boots.item_id, boots.currency, boots.quantity) == ("SKU-77", "EUR", 2)
    assert (coat.item_id, coat.price, coat.quantity) == ("SKU-78", 120.0, 1)
    assert collector.send("/v1/ga4", body("purchase", params)) == first
    other = collector.send("/v1/ga4", body("purchase", params, client_id="other"))
    assert not set(other["event_ids"]) & set(first["event_ids"])


@pytest.mark.parametrize("name", ["search", "view_search_results"])
def test_searches(collector, name):
    collector.send("/v1/ga4", body(name, {"search_term": "rain boots"}))
    (event,) = collector.events()
    assert (event.type, event.query, event.item_id) == (EventType.SEARCH, "rain boots", None)


def test_other_events_are_ignored(collector):
    payload = body("page_view", {"page_location": "https://shop.example"})
    payload["events"] += [
        {"name": "begin_checkout", "params": {"items": [BOOTS]}},
        {"name": "view_promotion", "params": {"promotion_id": "P_1"}},
        {"name": "refund", "params": {"transaction_id": "T-1"}},
        {"name": "view_item", "params": {"items": [COAT]}},
    ]
    answer = collector.send("/v1/ga4", payload)
    assert (answer["accepted"], answer["ignored"]) == (1, 4)


@pytest.mark.parametrize(
    ("signal", "agreed"),
    [
        ({"consent": {"ad_user_data": "DENIED", "ad_personalization": "DENIED"}}, False),
        ({"consent": {"ad_user_data": "GRANTED", "ad_personalization": "GRANTED"}}, True),
        ({"non_personalized_ads": True}, False),
        ({"non_personalized_ads": False}, True),
        ({}, True),
    ],
)
def test_consent(collector, signal, agreed):
    answer = collector.send("/v1/ga4", body("view_item", {"items": [BOOTS]}, **signal))
    assert (answer["accepted"], answer["without_consent"]) == (agreed, not agreed)
    assert len(collector.messages()) == agreed


@pytest.mark.parametrize(("identity", "user"), [("account", "u-7"), ("device", "1234567.7654321")])
def test_who_the_user_is(start, identity, user):
    collector = start(identity=identity)
    collector.send("/v1/ga4", body("view_item", {"items": [BOOTS]}, user_id="u-7"))
    assert collector.events()[0].user_id == user


def test_names_and_recommendations(collector):
    nameless = {"item_name": "Only a name", "recommendation_id": "r-1"}
    params = {"items": [nameless, BOOTS], "recommendation_id": "r-0", "item_list_name": "Home"}
    payload = body("select_item", params)
    del payload["timestamp_micros"]
    collector.send("/v1/ga4", {**payload, "app_instance_id": "app", "client_id": None})
    named, boots = collector.events()
    assert (named.item_id, named.recommendation_id, named.surface) == ("Only a name", "r-1", "Home")
    assert (boots.recommendation_id, boots.surface) == ("r-0", "related_products")
    assert {named.user_id, boots.user_id} == {"app"}
    assert {named.time, boots.time} == {NOW}


def test_the_secret_of_the_protocol_is_the_write_key(collector):
    path = f"/v1/ga4?measurement_id=G-XXXX&api_secret={KEY}"
    payload = body("view_item", {"items": [BOOTS]})
    assert collector.client.post(path, json=payload).status_code == 202
    assert collector.client.post(path + "x", json=payload).status_code == 401


@pytest.mark.parametrize(
    ("change", "field", "detail"),
    [
        ({"items": [{**BOOTS, "price": "cheap"}]}, "items[0].price", "the text 'cheap'"),
        ({"items": [BOOTS, {**BOOTS, "quantity": 1.5}]}, "items[1].quantity", "whole number"),
        ({"items": [{"price": 3}]}, "items[0].item_id", "needs the field"),
        ({"items": [{"item_id": ["x"]}]}, "items[0].item_id", "text"),
        ({"items": [{**BOOTS, "item_id": "x" * 129}]}, "items[0].item_id", "length <= 128"),
        ({"items": [BOOTS], "currency": "euro"}, "currency", "ISO 4217"),
        ({"items": [{**BOOTS, "currency": 5}]}, "items[0].currency", "ISO 4217"),
        ({"items": []}, "items", "need an item"),
        ({}, "items", "need an item"),
        ({"items": BOOTS}, "items", "should be a list, and is an object"),
        ({"items": ["SKU-77"]}, "items[0]", "should be an object, and is the text 'SKU-77'"),
    ],
)
def test_what_is_wrong_is_named_as_the_payload_names_it(collector, change, field, detail):
    payload = body("purchase", change)
    payload["events"].insert(0, {"name": "page_view"})
    error = collector.refused("/v1/ga4", payload)
    assert (error["index"], error["field"]) == (1, f"events[1].params.{field}")
    assert detail in error["detail"]
    assert collector.messages() == []


def test_a_body_without_a_user_or_with_a_wrong_time(collector):
    payload = body("view_item", {"items": [BOOTS]})
    del payload["client_id"]
    assert collector.refused("/v1/ga4", payload)["field"] == "client_id"
    for at, field in (("soon", "timestamp_micros"), (NOW, "timestamp_micros")):
        wrong = body("view_item", {"items": [BOOTS]}, timestamp_micros=at)
        assert collector.refused("/v1/ga4", wrong)["field"] == field
