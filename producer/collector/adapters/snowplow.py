"""Snowplow: a tracker's POST body (payload_data) with ecommerce events and entities.

Names: https://docs.snowplow.io/docs/events/ootb-data/ecommerce-events and
https://docs.snowplow.io/docs/collecting-data/collecting-from-own-applications/snowplow-tracker-protocol
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator

import msgspec

from producer.collector.mapping import (
    Draft,
    Mapped,
    Received,
    corrected_time,
    joined_id,
)
from producer.collector.payload import Part, PayloadError
from schemas.clickstream import EventType

ACTION = "com.snowplowanalytics.snowplow.ecommerce/snowplow_ecommerce_action"
PRODUCT = "com.snowplowanalytics.snowplow.ecommerce/product"
TRANSACTION = "com.snowplowanalytics.snowplow.ecommerce/transaction"
SITE_SEARCH = "com.snowplowanalytics.snowplow/site_search"
CONSENT = "com.snowplowanalytics.snowplow/consent_preferences"
SESSION = "com.snowplowanalytics.snowplow/client_session"

ACTIONS = {
    "product_view": EventType.VIEW,
    "list_view": EventType.IMPRESSION,
    "list_click": EventType.CLICK,
    "add_to_cart": EventType.ADD_TO_CART,
    "remove_from_cart": EventType.REMOVE_FROM_CART,
    "transaction": EventType.PURCHASE,
}
LEGACY_CART = {
    "com.snowplowanalytics.snowplow/add_to_cart": EventType.ADD_TO_CART,
    "com.snowplowanalytics.snowplow/remove_from_cart": EventType.REMOVE_FROM_CART,
}
_NO = frozenset({"deny_all", "withdrawn", "expired", "pending"})
_WITH_QUANTITY = frozenset({EventType.ADD_TO_CART, EventType.REMOVE_FROM_CART, EventType.PURCHASE})

_Entities = list[tuple[str, Part]]
"""Schema, without `iglu:` and version, and data of each."""


def snowplow(payload: Part, received: Received) -> Mapped:
    """Map a `payload_data` of tracker payloads."""
    mapped = Mapped()
    for index, row in enumerate(payload["data"].each()):
        mapped.add(index, _drafts(row, index, received))
    return mapped


def _drafts(row: Part, index: int, received: Received) -> Iterator[Draft]:
    kind = row["e"].text()
    if kind == "ti":
        draft = Draft(index, {"type": EventType.PURCHASE})
        draft.text("item_id", row["ti_sk"])
        _offer(draft, row["ti_pr"], row["ti_cu"], row["ti_qu"])
        yield _common(draft, row, [], received)
    elif kind == "ue":
        schema, event = _event(row)
        entities = _entities(row)
        for number, draft in enumerate(_self_describing(schema, event, entities, index)):
            yield _common(draft, row, entities, received, number)


def _self_describing(schema: str, event: Part, entities: _Entities, index: int) -> Iterator[Draft]:
    if schema == ACTION:
        kind = ACTIONS.get(event["type"].text() or "")
        if kind is None:
            return
        products = [data for name, data in entities if name == PRODUCT]
        if not products:
            raise PayloadError(event.path, f"has no product entity; {kind.value} events need one")
        orders = [data for name, data in entities if name == TRANSACTION]
        for product in products:
            draft = Draft(index, {"type": kind})
            draft.text("item_id", product["id"])
            currency = product["currency"] or (orders[0]["currency"] if orders else Part(None))
            _offer(draft, product["price"], currency, product["quantity"])
            draft.text("surface", event["name"])
            yield draft
    elif schema in LEGACY_CART:
        draft = Draft(index, {"type": LEGACY_CART[schema]})
        draft.text("item_id", event["sku"])
        _offer(draft, event["unitPrice"], event["currency"], event["quantity"])
        yield draft
    elif schema == SITE_SEARCH:
        terms = [term.text() or "" for term in event["terms"].each()]
        draft = Draft(index, {"type": EventType.SEARCH})
        draft.given("query", event["terms"], " ".join(terms).strip() or None)
        yield draft


def _offer(draft: Draft, price: Part, currency: Part, quantity: Part) -> None:
    draft.number("price", price)
    draft.currency(currency)
    if draft.fields["type"] in _WITH_QUANTITY:
        draft.count("quantity", quantity)


def _common(
    draft: Draft, row: Part, entities: _Entities, received: Received, number: int = 0
) -> Draft:
    """Fill in what all payloads have."""
    session = next((data for name, data in entities if name == SESSION), Part(None))
    device = row.first("duid", "nuid", "tnuid")
    if session and not device:
        device = session["userId"]
    received.user(draft, row["uid"], device)
    draft.text("session_id", row["sid"] or session["sessionId"])
    draft.fields["consent"] = _consent(entities, received)
    true_time = row["ttm"]
    at = true_time or row["dtm"]
    created = at.count()
    time = received.time
    if created is not None:
        sent = None if true_time else row["stm"].count()
        time = corrected_time(created, sent, received.time)
    draft.given("time", at, time)
    id_ = row["eid"].text()
    if id_ is not None:
        draft.given("event_id", row["eid"], joined_id(id_, number))
    return draft


def _consent(entities: _Entities, received: Received) -> bool:
    for name, data in entities:
        if name != CONSENT:
            continue
        answer = data["eventType"].text()
        if answer in _NO:
            return False
        if answer == "allow_selected":
            scopes = {scope.text() for scope in data["consentScopes"].each()}
            wanted = received.settings.consent_categories
            if not wanted or not scopes.issuperset(wanted):
                return False
    return True


def _event(row: Part) -> tuple[str, Part]:
    outer = _json(row, "ue_pr", "ue_px")
    return _schema(outer["data"]["schema"]), outer["data"]["data"]


def _entities(row: Part) -> _Entities:
    outer = _json(row, "co", "cx")
    return [(_schema(entity["schema"]), entity["data"]) for entity in outer["data"].each()]


def _schema(part: Part) -> str:
    """Return `vendor/name` of `iglu:vendor/name/jsonschema/1-0-0`."""
    vendor, _, rest = (part.text() or "").removeprefix("iglu:").partition("/")
    return f"{vendor}/{rest.partition('/')[0]}"


def _json(row: Part, plain: str, encoded: str) -> Part:
    """Return the JSON in a field: as it is, or in Base64 for URLs, padded or not."""
    part = row.first(plain, encoded)
    text = part.text()
    if text is None:
        return part
    try:
        if not row[plain]:
            padded = text.replace("+", "-").replace("/", "_") + "=" * (-len(text) % 4)
            text = base64.urlsafe_b64decode(padded).decode()
        return Part(msgspec.json.decode(text), part.path)
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError) as error:
        raise PayloadError(part.path, "is no JSON" + " in Base64" * (not row[plain])) from error
