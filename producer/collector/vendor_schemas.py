"""JSON Schemas of what the adapters read of vendors' payloads; everything else is let through."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_ID: Schema = {"type": ["string", "integer"]}
_NUMBER: Schema = {"type": ["number", "string"]}
_FLAG: Schema = {"type": "boolean"}
_TIME: Schema = {"type": "string", "format": "date-time"}


def _object(*required: str, **members: Schema) -> Schema:
    made: Schema = {"type": "object", "properties": members}
    return {**made, "required": list(required)} if required else made


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


_GA4_ITEM = _object(
    item_id=_ID,
    item_name=_TEXT,
    price=_NUMBER,
    currency=_TEXT,
    quantity=_NUMBER,
    item_list_id=_TEXT,
    item_list_name=_TEXT,
    recommendation_id=_TEXT,
)
GA4 = _object(
    "events",
    client_id=_TEXT,
    app_instance_id=_TEXT,
    user_id=_TEXT,
    timestamp_micros=_NUMBER,
    non_personalized_ads=_FLAG,
    consent=_object(ad_user_data=_TEXT, ad_personalization=_TEXT),
    events=_list(
        _object(
            "name",
            name=_TEXT,
            timestamp_micros=_NUMBER,
            params=_object(
                session_id=_ID,
                currency=_TEXT,
                transaction_id=_ID,
                search_term=_TEXT,
                item_list_id=_TEXT,
                item_list_name=_TEXT,
                recommendation_id=_TEXT,
                items=_list(_GA4_ITEM),
            ),
        )
    ),
)

_SEGMENT_PRODUCT: dict[str, Schema] = {
    "product_id": _ID,
    "sku": _ID,
    "price": _NUMBER,
    "currency": _TEXT,
    "quantity": _NUMBER,
    "recommendation_id": _TEXT,
}
_SEGMENT_CALL: dict[str, Schema] = {
    "type": _TEXT,
    "event": _TEXT,
    "userId": _ID,
    "anonymousId": _ID,
    "messageId": _TEXT,
    "timestamp": _TIME,
    "originalTimestamp": _TIME,
    "sentAt": _TIME,
    "integrations": {"type": "object"},
    "context": _object(sessionId=_ID, consent=_object(categoryPreferences={"type": "object"})),
    "properties": _object(
        **_SEGMENT_PRODUCT,
        query=_TEXT,
        list_id=_ID,
        rating=_NUMBER,
        review_body=_TEXT,
        products=_list(_object(**_SEGMENT_PRODUCT)),
    ),
}
SEGMENT = _object(**_SEGMENT_CALL, batch=_list(_object(**_SEGMENT_CALL)), writeKey=_TEXT)

SNOWPLOW = _object(
    "data",
    schema=_TEXT,
    data=_list(
        _object(
            "e",
            e=_TEXT,
            eid=_TEXT,
            dtm=_ID,
            stm=_ID,
            ttm=_ID,
            uid=_TEXT,
            duid=_TEXT,
            nuid=_TEXT,
            tnuid=_TEXT,
            sid=_TEXT,
            ue_pr={**_TEXT, "description": "Self-describing event, JSON as text."},
            ue_px={**_TEXT, "description": "The same in URL-safe Base64."},
            co={**_TEXT, "description": "Entities, JSON as text."},
            cx={**_TEXT, "description": "The same in URL-safe Base64."},
            ti_sk=_TEXT,
            ti_pr=_NUMBER,
            ti_qu=_NUMBER,
            ti_cu=_TEXT,
        )
    ),
)

_MONEY = _object(amount=_NUMBER, currencyCode=_TEXT)
_VARIANT = _object(id=_ID, sku=_TEXT, price=_MONEY, product=_object(id=_ID))
_SHOPIFY_EVENT: dict[str, Schema] = {
    "id": _TEXT,
    "name": _TEXT,
    "timestamp": _TIME,
    "clientId": _TEXT,
    "data": _object(
        productVariant=_VARIANT,
        cartLine=_object(merchandise=_VARIANT, quantity=_NUMBER),
        collection=_object(id=_ID, productVariants=_list(_VARIANT)),
        searchResult=_object(query=_TEXT),
        checkout=_object(
            currencyCode=_TEXT,
            lineItems=_list(_object(variant=_VARIANT, quantity=_NUMBER)),
            order=_object(customer=_object(id=_ID)),
        ),
    ),
}
SHOPIFY = _object(
    **_SHOPIFY_EVENT,
    events=_list(_object(**_SHOPIFY_EVENT)),
    customer=_object(id=_ID),
    customerPrivacy=_object(analyticsProcessingAllowed=_FLAG, preferencesProcessingAllowed=_FLAG),
)
