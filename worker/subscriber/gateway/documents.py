"""The OpenAPI document's parts that no type of a handler says."""

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
    Schema,
    SecurityScheme,
)

from schemas.documents.json_schema import json_schema_document
from schemas.recommendations import Recommendation
from worker.subscriber.gateway.access import TOKEN_PARAMETER
from worker.subscriber.gateway.metrics import Route
from worker.subscriber.gateway.problems import MEDIA_TYPE

_SUMMARIES = {
    Route.EVENTS: "A user's recommendations as Server-Sent Events: the latest, then each new one",
    Route.LATEST: "A user's latest recommendation, or the one that an event causes",
}
_ANSWERS = {
    Route.EVENTS: {
        200: (
            "Events `recommendation`, whose id is the recommendation's and whose data is a "
            "Recommendation as JSON; an event `erased` where the user was removed.",
            "text/event-stream",
        )
    },
    Route.LATEST: {
        200: ("The recommendation.", "application/json"),
        204: ("The event was not answered in time.", ""),
        304: ("It is still the one of If-None-Match.", ""),
    },
}
_PROBLEMS = {
    400: "A parameter is wrong.",
    401: "There is no token, or none that is good.",
    403: "The token is another user's.",
    404: "There is no recommendation for this user yet.",
    429: "The address has too many streams.",
    503: "The gateway has too many streams, or does not follow the topic.",
}


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
    """Return the ways in which a token may come."""
    schemes: dict[str, SecurityScheme | Reference] = {
        "bearer": SecurityScheme(type="http", scheme="bearer", description="The token."),
        "query": SecurityScheme(type="apiKey", name=TOKEN_PARAMETER, security_scheme_in="query"),
    }
    return Components(security_schemes=schemes)


def operation(route: Route) -> type[Operation]:
    """Return the class of a route's operation, filled in."""
    responses: dict[str, OpenAPIResponse] = {}
    for status, (text, media) in _ANSWERS[route].items():
        schema = {"type": "string"} if route is Route.EVENTS else _ref("Recommendation")
        content = {media: _media(schema)} if media else None
        responses[str(status)] = OpenAPIResponse(description=text, content=content)
    for status, text in _PROBLEMS.items():
        if status != 404 or route is Route.LATEST:
            content = {MEDIA_TYPE: _media(_ref("Problem"))}
            responses[str(status)] = OpenAPIResponse(description=text, content=content)

    @dataclass
    class GatewayOperation(Operation):
        def __post_init__(self) -> None:
            self.summary = _SUMMARIES[route]
            self.responses = cast("Any", responses)
            self.security = [{"bearer": []}, {"query": []}]

    return GatewayOperation


def _schemas() -> dict[str, Any]:
    message = _referring_to_components(json_schema_document(Recommendation))
    definitions = message.pop("$defs")
    for name in ("$schema", "$id"):
        del message[name]
    message["properties"]["traceparent"] = {
        "type": "string",
        "description": "W3C trace context, if the event is traced.",
    }
    title = {"type": "string", "description": "If the gateway adds titles and knows it."}
    message["properties"]["received_at"] = {
        "type": "integer",
        "description": "When the gateway had it, epoch milliseconds.",
    }
    for name in ("RecommendedItem", "Reason"):
        definitions[name]["properties"]["title"] = title
    text = {"type": "string"}
    names = ("type", "title", "detail")
    problem = {
        "type": "object",
        "description": "Problem details, RFC 9457.",
        "properties": {**dict.fromkeys(names, text), "status": {"type": "integer"}},
        "required": [*names, "status"],
    }
    return {"Recommendation": message, **definitions, "Problem": problem}


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
