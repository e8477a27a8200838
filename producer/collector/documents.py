"""The OpenAPI document's parts that no type of a handler says: bodies, answers, security."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, cast

from litestar import MediaType, Request
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Reference,
    RequestBody,
    Schema,
    SecurityScheme,
)

from producer.collector import vendor_schemas
from producer.collector.body import JSON_TYPES, LINE_TYPES
from producer.collector.problems import MEDIA_TYPE
from producer.metrics import Route
from schemas.clickstream import ClickstreamEvent
from schemas.documents.json_schema import json_schema_document

_SUMMARIES = {
    Route.EVENTS: "Canonical events: one, a list, or one a line",
    Route.GA4: "A body of Google Analytics 4's Measurement Protocol",
    Route.SEGMENT: "A track call of Segment's ecommerce spec v2, or a batch",
    Route.SNOWPLOW: "A payload_data of a Snowplow tracker",
    Route.SHOPIFY: "Standard events of Shopify's Web Pixels API",
}
_VENDOR_BODIES = {
    Route.GA4: vendor_schemas.GA4,
    Route.SEGMENT: vendor_schemas.SEGMENT,
    Route.SNOWPLOW: vendor_schemas.SNOWPLOW,
    Route.SHOPIFY: vendor_schemas.SHOPIFY,
}
_PROBLEMS = {
    400: "Nothing was published: the body cannot be read, or events are wrong. `errors` names the "
    "event's index in the batch and the field.",
    401: "There is no write key, or a wrong one.",
    403: "Pages of this origin may not send events.",
    408: "The body did not come in time.",
    413: "The body is too large, or has too many events.",
    415: "The media type is not taken.",
    429: "Too many requests of the address, or events of the write key; see Retry-After.",
    503: "The brokers did not acknowledge all events in time. Send them again under the same ids: "
    "copies are dropped.",
}
_SCHEMES = ("bearer", "header", "query")


class Document(JsonRenderPlugin):
    """Serves the document, with the schemas that the operations refer to."""

    def __init__(self, path: str) -> None:
        super().__init__(path=path, media_type=MediaType.JSON)
        self._schemas = _schemas()

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the document as JSON."""
        # Litestar fills this in from the handlers' types, and lets nobody else.
        components = {**openapi_schema["components"], "schemas": self._schemas}
        return super().render(request, {**openapi_schema, "components": components})


def security() -> Components:
    """Return the ways in which a write key may come."""
    header = SecurityScheme(type="apiKey", name="X-Write-Key", security_scheme_in="header")
    query = SecurityScheme(type="apiKey", name="write_key", security_scheme_in="query")
    bearer = SecurityScheme(type="http", scheme="bearer", description="The write key.")
    schemes: dict[str, SecurityScheme | Reference] = {
        "bearer": bearer,
        "header": header,
        "query": query,
    }
    return Components(security_schemes=schemes)


def operation(route: Route) -> type[Operation]:
    """Return the class of a route's operation, filled in."""
    body = RequestBody(
        required=True,
        content={media: _media(schema) for media, schema in _bodies(route).items()},
        description="Write keys may also be a member of the body, `write_key` or `writeKey`.",
    )
    accepted = OpenAPIResponse(
        description="The brokers have acknowledged every event.",
        content={"application/json": _media(_ref("Accepted"))},
    )
    responses = {"202": accepted} | {
        str(status): OpenAPIResponse(
            description=text, content={MEDIA_TYPE: _media(_ref("Problem"))}
        )
        for status, text in _PROBLEMS.items()
    }

    @dataclass
    class EventsOperation(Operation):
        def __post_init__(self) -> None:
            self.summary = _SUMMARIES[route]
            self.request_body = body
            self.responses = cast("Any", responses)
            self.security = [{scheme: []} for scheme in _SCHEMES]

    return EventsOperation


def _bodies(route: Route) -> dict[str, dict[str, Any]]:
    if route is not Route.EVENTS:
        return dict.fromkeys(JSON_TYPES, _VENDOR_BODIES[route])
    event = _ref("Event")
    events = {"type": "array", "items": event, "minItems": 1}
    batch = {
        "type": "object",
        "description": "Events with what they share; `sent_at` is the sender's clock at sending, "
        "by which times are corrected.",
        "properties": {
            "events": events,
            "sent_at": {"type": "integer", "minimum": 0, "maximum": 2**53},
            "user_id": {"type": "string", "minLength": 1, "maxLength": 128},
            "session_id": {"type": "string", "minLength": 1, "maxLength": 128},
            "consent": {"type": "boolean"},
            "write_key": {"type": "string"},
        },
        "required": ["events"],
    }
    one_or_many = {"anyOf": [event, events, batch]}
    lines = {"type": "string", "description": "An event a line."}
    return dict.fromkeys(JSON_TYPES, one_or_many) | dict.fromkeys(LINE_TYPES, lines)


def _schemas() -> dict[str, Any]:
    event = json_schema_document(ClickstreamEvent)
    definitions = event.pop("$defs")
    event = _referring_to_components(event)
    for name in ("$schema", "$id"):
        del event[name]
    # Made by the collector where they are left out.
    event["required"] = [n for n in event["required"] if n not in ("event_id", "time")]
    return {"Event": event, **definitions, **_answers()}


def _answers() -> dict[str, Any]:
    count = {"type": "integer", "minimum": 0}
    text = {"type": "string"}
    return {
        "Accepted": {
            "type": "object",
            "properties": {
                "accepted": {**count, "description": "Events that the brokers have."},
                "without_consent": {**count, "description": "Events not published."},
                "ignored": {**count, "description": "Events that say nothing about items."},
                "event_ids": {
                    "type": "array",
                    "items": text,
                    "description": "Of the events accepted; recommendations name them as "
                    "caused_by.",
                },
            },
            "required": ["accepted", "without_consent", "ignored", "event_ids"],
        },
        "Problem": {
            "type": "object",
            "description": "Problem details, RFC 9457.",
            "properties": {
                "type": {**text, "format": "uri"},
                "title": text,
                "status": {"type": "integer"},
                "detail": text,
                "errors": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"index": count, "field": text, "detail": text},
                        "required": ["field", "detail"],
                    },
                },
            },
            "required": ["type", "title", "status", "detail"],
        },
    }


def _media(schema: dict[str, Any]) -> OpenAPIMediaType:
    return OpenAPIMediaType(schema=cast("Schema", copy.deepcopy(schema)))


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _referring_to_components(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """Return a schema with its references to `$defs` made references to components."""
    if isinstance(schema, dict):
        return {
            key: value.replace("#/$defs/", "#/components/schemas/")
            if key == "$ref"
            else _referring_to_components(value)
            for key, value in schema.items()
        }
    if isinstance(schema, list):
        return [_referring_to_components(part) for part in schema]
    return schema
