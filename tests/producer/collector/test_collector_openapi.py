"""The OpenAPI document that is served is valid, and says what the collector takes and answers."""

from __future__ import annotations

import jsonschema
import pytest
import schemathesis
from collecting import KEY

from producer.collector.routes import PATHS
from schemas.clickstream import ClickstreamEvent


@pytest.fixture
def document(collector) -> dict:
    response = collector.client.get("/v1/openapi.json")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("application/json")
    return response.json()


def test_it_is_a_valid_document_of_every_path(document):
    schemathesis.openapi.from_dict(document).validate()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == set(PATHS.values())
    for path in PATHS.values():
        operation = document["paths"][path]["post"]
        expected = {"202", "400", "401", "403", "408", "413", "415", "429", "503"}
        assert set(operation["responses"]) == expected
        assert {"application/json", "text/plain"} <= operation["requestBody"]["content"].keys()
        assert operation["security"] == [{"bearer": []}, {"header": []}, {"query": []}]


def test_the_event_is_the_canonical_one(document):
    event = document["components"]["schemas"]["Event"]
    assert set(event["properties"]) == set(ClickstreamEvent.__struct_fields__)
    assert set(event["required"]) == {"user_id", "type"}


@pytest.mark.parametrize(
    "event",
    [
        {"type": "view", "user_id": "u", "item_id": "i"},
        {"type": "view", "user_id": "u"},
        {"type": "search", "user_id": "u", "query": "q"},
        {"type": "search", "user_id": "u", "item_id": "i"},
        {"type": "click", "user_id": "u", "item_id": "i", "price": -1},
        {"type": "click", "user_id": "u", "item_id": "i", "time": "now"},
        {"type": "click", "item_id": "i"},
    ],
)
def test_what_the_document_says_of_an_event_is_what_is_done(collector, document, event):
    schema = {"$ref": "#/components/schemas/Event", "components": document["components"]}
    valid = jsonschema.Draft202012Validator(schema).is_valid(event)
    assert collector.post("/v1/events", event).status_code == (202 if valid else 400)


def test_answers_are_as_documented(collector, document):
    def check(name: str, answer: dict) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(answer)

    view = {"type": "view", "user_id": "u", "item_id": "i"}
    check("Accepted", collector.post("/v1/events", view).json())
    for body in (b"{", b"[{}]", b"[]"):
        check("Problem", collector.post("/v1/events", body).json())
    unauthorized = collector.client.post(
        "/v1/events", json=view, headers={"x-write-key": KEY + "x"}
    )
    check("Problem", unauthorized.json())
    for method, path in (("GET", "/v1/events"), ("GET", "/nowhere"), ("DELETE", "/v1/ga4")):
        response = collector.client.request(method, path)
        assert response.status_code in (404, 405)
        assert response.headers["content-type"] == "application/problem+json"
        check("Problem", response.json())


def test_the_snippet_is_served_for_pages_everywhere(collector):
    response = collector.client.get("/v1/snippet.js")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/javascript; charset=utf-8"
    assert response.headers["cross-origin-resource-policy"] == "cross-origin"
    assert "max-age" in response.headers["cache-control"]
    assert len(response.content) <= 2048
