"""Snowplow's tracker payloads with ecommerce events and entities become canonical events."""

from __future__ import annotations

import base64
import json

import pytest
from collecting import NOW

from schemas.clickstream import ClickstreamEvent, EventType

IGLU = "iglu:com.snowplowanalytics.snowplow"
BOOTS = {
    "id": "P-77",
    "name": "Rain boots",
    "category": "Shoes/Boots",
    "price": 39.9,
    "list_price": 49.9,
    "quantity": 2,
    "size": "42",
    "variant": "green",
    "brand": "Dry & Co",
    "inventory_status": "in stock",
    "position": 1,
    "currency": "EUR",
    "creative_id": "c-1",
}
COAT = {"id": "P-78", "category": "Coats", "price": 120, "currency": "eur", "quantity": 1}


def entity(name: str, data: dict, version: str = "1-0-0") -> dict:
    return {"schema": f"{IGLU}{name}/jsonschema/{version}", "data": data}


def product(data: dict) -> dict:
    return entity(".ecommerce/product", data)


def row(event: dict, entities: list[dict] | None = None, *, encode: bool = False, **more: str):
    unstruct = {"schema": f"{IGLU}/unstruct_event/jsonschema/1-0-0", "data": event}
    contexts = {"schema": f"{IGLU}/contexts/jsonschema/1-0-0", "data": entities}
    fields = {
        "e": "ue",
        "eid": "c6ef3124-b53a-4b13-a233-0088f79dcbcb",
        "dtm": str(NOW - 500),
        "stm": str(NOW - 100),
        "tv": "js-4.0.0",
        "tna": "sp1",
        "aid": "shop",
        "p": "web",
        "duid": "domain-user",
        "sid": "session-1",
    }
    for name, encoded, value in (("ue_pr", "ue_px", unstruct), ("co", "cx", contexts)):
        if value is contexts and entities is None:
            continue
        text = json.dumps(value)
        if encode:  # as the JavaScript tracker does: for URLs, without padding
            fields[encoded] = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
        else:
            fields[name] = text
    return {**fields, **more}


def action(kind: str, entities: list[dict], name: str | None = None, **more) -> dict:
    data = {"type": kind} | ({"name": name} if name else {})
    return row(entity(".ecommerce/snowplow_ecommerce_action", data, "1-0-2"), entities, **more)


def payload(*rows: dict) -> dict:
    return {"schema": f"{IGLU}/payload_data/jsonschema/1-0-4", "data": list(rows)}


@pytest.mark.parametrize("encode", [False, True])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("product_view", EventType.VIEW),
        ("list_view", EventType.IMPRESSION),
        ("list_click", EventType.CLICK),
        ("add_to_cart", EventType.ADD_TO_CART),
        ("remove_from_cart", EventType.REMOVE_FROM_CART),
        ("transaction", EventType.PURCHASE),
    ],
)
def test_ecommerce_actions(collector, name, kind, encode):
    entities = [
        product(BOOTS),
        entity(".ecommerce/page", {"type": "product", "language": "EN-GB"}),
        product(COAT),
        entity(".ecommerce/cart", {"cart_id": "c", "currency": "EUR", "total_value": 12}),
    ]
    sent = action(name, entities, "shop the look", encode=encode)
    answer = collector.send("/v1/snowplow", payload(sent))
    assert answer["event_ids"] == [f"{sent['eid']}/0", f"{sent['eid']}/1"]
    boots, coat = sorted(collector.events(), key=lambda event: event.event_id)
    counted = kind in {EventType.ADD_TO_CART, EventType.REMOVE_FROM_CART, EventType.PURCHASE}
    assert boots == ClickstreamEvent(
        event_id=f"{sent['eid']}/0",
        user_id="domain-user",
        type=kind,
        time=NOW - 500,
        item_id="P-77",
        session_id="session-1",
        price=39.9,
        currency="EUR",
        quantity=2 if counted else None,
        surface="shop the look",
    )
    assert (coat.item_id, coat.price, coat.currency) == ("P-78", 120.0, "EUR")


def test_padded_and_plain_base64_are_read_too(collector):
    sent = action("product_view", [product(BOOTS)])
    for name, encoded in (("ue_pr", "ue_px"), ("co", "cx")):
        sent[encoded] = base64.b64encode((sent.pop(name) + "   ").encode()).decode()
    assert collector.send("/v1/snowplow", payload(sent))["accepted"] == 1


def test_what_carts_and_searches_were_before(collector):
    old = {"sku": "P-1", "name": "Hat", "category": "Hats", "unitPrice": 9.5, "quantity": 3}
    rows = [
        row(entity("/add_to_cart", {**old, "currency": "GBP"}), eid="e-1"),
        row(entity("/remove_from_cart", old), eid="e-2"),
        row(entity("/site_search", {"terms": ["rain", "boots"], "totalResults": 7}), eid="e-3"),
        {"e": "ti", "eid": "e-4", "dtm": str(NOW), "uid": "u", "ti_id": "O-1", "ti_sk": "P-2",
         "ti_nm": "Scarf", "ti_ca": "Scarves", "ti_pr": "12.5", "ti_qu": "2", "ti_cu": "USD"},
    ]  # fmt: skip
    assert collector.send("/v1/snowplow", payload(*rows))["accepted"] == 4
    add, remove, search, bought = sorted(collector.events(), key=lambda event: event.event_id)
    assert (add.type, add.item_id, add.price, add.quantity) == ("add_to_cart", "P-1", 9.5, 3)
    assert (remove.type, remove.currency) == ("remove_from_cart", None)
    assert (search.type, search.query) == ("search", "rain boots")
    assert (bought.type, bought.item_id, bought.price, bought.quantity, bought.currency) == (
        "purchase", "P-2", 12.5, 2, "USD",
    )  # fmt: skip


def test_a_purchases_currency_may_be_the_transactions(collector):
    bare = {"id": "P-1", "category": "x", "price": 1, "currency": None}
    order = {"transaction_id": "T", "revenue": 1, "currency": "CHF", "payment_method": "card"}
    entities = [entity(".ecommerce/transaction", order), product(bare)]
    collector.send("/v1/snowplow", payload(action("transaction", entities)))
    assert collector.events()[0].currency == "CHF"


def test_other_events_are_ignored(collector):
    rows = [
        {"e": "pv", "eid": "e", "url": "https://shop.example", "duid": "d"},
        {"e": "pp", "eid": "e", "duid": "d"},
        {"e": "tr", "tr_id": "T"},
        {"e": "se", "se_ca": "x", "se_ac": "y"},
        action("checkout_step", []),
        action("promo_view", []),
        action("trns_error", []),
        row({"schema": "iglu:com.acme/anything/jsonschema/1-0-0", "data": {"x": 1}}),
        action("product_view", [product(BOOTS)]),
    ]
    answer = collector.send("/v1/snowplow", payload(*rows))
    assert (answer["accepted"], answer["ignored"]) == (1, 8)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ({"dtm": NOW + 3_600_000, "stm": NOW + 3_600_250}, NOW - 250),
        ({"dtm": NOW - 7_200_300, "stm": NOW - 7_200_000}, NOW - 300),
        ({"dtm": NOW - 7_200_300, "stm": NOW - 7_200_000, "ttm": NOW - 9}, NOW - 9),
    ],
)
def test_times_are_corrected_as_in_snowplows_pipeline(collector, times, expected):
    sent = action("product_view", [product(BOOTS)], **{k: str(v) for k, v in times.items()})
    collector.send("/v1/snowplow", payload(sent))
    assert collector.events()[0].time == expected


@pytest.mark.parametrize(
    ("scopes", "answer", "granted", "agreed"),
    [
        ([], "allow_all", [], True),
        ([], "implicit_consent", [], True),
        ([], "deny_all", [], False),
        ([], "withdrawn", [], False),
        ([], "expired", [], False),
        ([], "pending", [], False),
        ([], "allow_selected", ["necessary", "preferences"], False),
        (["preferences"], "allow_selected", ["necessary", "preferences"], True),
        (["preferences"], "allow_selected", ["necessary"], False),
    ],
)
def test_consent(start, scopes, answer, granted, agreed):
    collector = start(consent_categories=scopes)
    consent = {
        "eventType": answer,
        "basisForProcessing": "consent",
        "consentScopes": granted,
        "consentVersion": "1",
        "consentUrl": "https://shop.example/privacy",
        "domainsApplied": [],
    }
    entities = [product(BOOTS), entity("/consent_preferences", consent)]
    result = collector.send("/v1/snowplow", payload(action("product_view", entities)))
    assert (result["accepted"], result["without_consent"]) == (agreed, not agreed)


@pytest.mark.parametrize(
    ("identity", "fields", "user"),
    [
        ("account", {"uid": "u-7"}, "u-7"),
        ("device", {"uid": "u-7"}, "domain-user"),
        ("account", {"duid": "", "tnuid": "network"}, "network"),
        ("account", {"duid": ""}, "phone"),
    ],
)
def test_who_the_user_is(start, identity, fields, user):
    session = entity("/client_session", {"userId": "phone", "sessionId": "s-9"}, "1-0-2")
    sent = action("product_view", [product(BOOTS), session], **fields)
    collector = start(identity=identity)
    collector.send("/v1/snowplow", payload(sent))
    assert collector.events()[0].user_id == user


@pytest.mark.parametrize(
    ("sent", "field", "detail"),
    [
        (action("product_view", [product({**BOOTS, "price": "cheap"})]),
         "co.data[0].data.price", "a number"),
        (action("product_view", [product({"price": 1})]), "co.data[0].data.id", "needs the field"),
        (action("transaction", []), "ue_pr.data.data", "no product entity"),
        (action("product_view", [product(BOOTS)], dtm="soon"), "dtm", "a number"),
        (action("product_view", [product(BOOTS)], duid=""), "duid", "missing"),
        (row({}) | {"ue_pr": "{"}, "ue_pr", "is no JSON"),
        ({"e": "ue", "ue_px": "!!!"}, "ue_px", "is no JSON in Base64"),
        ({"e": "ue", "ue_px": "4pyTIMOg"}, "ue_px", "is no JSON in Base64"),
        ({"e": "ti", "duid": "d", "ti_sk": "P", "ti_qu": "many"}, "ti_qu", "a number"),
        ("pv", "", "an object"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_as_the_payload_names_it(collector, sent, field, detail):
    error = collector.refused("/v1/snowplow", payload({"e": "pv"}, sent))
    assert error["index"] == 1
    assert error["field"] == f"data[1].{field}".rstrip(".")
    assert detail in error["detail"]
    assert collector.messages() == []
