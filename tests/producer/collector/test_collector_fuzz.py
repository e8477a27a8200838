"""Fuzzed: no answer is a 5xx or undocumented, and nothing without a write key gets in.

`FUZZ_EXAMPLES=400 pytest tests/producer/collector/test_collector_fuzz.py` sends some 11,000
requests; the default is some hundreds.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from collecting import KEY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from test_collector_server import running
from test_ga4_adapter import BOOTS, body
from test_segment_adapter import PRODUCT, call
from test_shopify_adapter import LINE, VARIANT, event
from test_snowplow_adapter import action, entity, payload, product, row

from producer.collector.routes import PATHS
from schemas.settings import Settings
from schemas.topics import Topic
from worker.kafka_admin import create_topics

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "10"))
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
REFUSED = {400, 401, 413, 415}
FUZZED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@dataclass
class Target:
    """A running collector, and how many requests and events went into it."""

    settings: Settings
    address: str
    client: httpx.Client
    statuses: dict[int, int] = field(default_factory=dict)
    accepted: int = 0

    def note(self, status: int, answer: Callable[[], Any], *, authorized: bool) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if authorized:
            self.accepted += answer()["accepted"] if status == 202 else 0
        else:
            assert status in REFUSED, status


@pytest.fixture(scope="module")
def target(embedded_broker: Any) -> Iterator[Target]:
    base = Settings.model_validate(
        {
            "kafka": {
                "bootstrap_servers": embedded_broker.bootstrap_servers,
                "topic_prefix": f"fuzz-{os.getpid()}.",
            }
        }
    )
    create_topics(base)
    with running(base) as (process, address, _), httpx.Client(timeout=120) as client:
        yield Target(base, address, client)
        assert process.poll() is None


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("path", PATHS.values())
def test_what_the_document_allows_and_what_it_does_not(
    target: Target, path: str, mode: GenerationMode
) -> None:
    document = schemathesis.openapi.from_url(f"{target.address}/v1/openapi.json")
    session = requests.Session()

    @FUZZED
    @given(document[path]["POST"].as_strategy(generation_mode=mode))
    def fuzz(case: Any) -> None:
        for headers in (AUTHORIZED, {}):
            # Without: with what was made up in place of a key.
            response = case.call_and_validate(
                session=session, headers=headers, checks=CHECKS, timeout=120
            )
            target.note(response.status_code, response.json, authorized=bool(headers))

    fuzz()


VALID: dict[str, list[Any]] = {
    "/v1/events": [
        {"type": "view", "user_id": "u", "item_id": "i", "time": 1_763_800_000_000, "price": 1.5},
        {"events": [{"type": "search", "query": "q"}], "user_id": "u", "sent_at": 1},
        [{"type": "review", "user_id": "u", "item_id": "i", "rating": 4, "text": "t"}],
    ],
    "/v1/ga4": [
        body("purchase", {"transaction_id": "T", "currency": "EUR", "items": [BOOTS, BOOTS]}),
        body("search", {"search_term": "boots"}, user_id="u", consent={"ad_personalization": "x"}),
    ],
    "/v1/segment": [
        call("Product Added", PRODUCT, sentAt="2025-11-22T08:26:40Z"),
        {"batch": [call("Order Completed", {"products": [PRODUCT, PRODUCT]})]},
        call("Product Viewed", PRODUCT, context={"consent": {"categoryPreferences": {"A": True}}}),
    ],
    "/v1/snowplow": [
        payload(action("add_to_cart", [product(BOOTS)], encode=True)),
        payload(row(entity("/site_search", {"terms": ["rain", "boots"]}))),
        payload({"e": "ti", "uid": "u", "ti_sk": "P", "ti_pr": "1", "ti_qu": "2", "ti_cu": "EUR"}),
    ],
    "/v1/shopify": [
        event("product_added_to_cart", {"cartLine": LINE}),
        event("collection_viewed", {"collection": {"id": 7, "productVariants": [VARIANT]}}),
        {"events": [event("checkout_completed", {"checkout": {"lineItems": [LINE]}})]},
    ],
}  # fmt: skip

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=150)
    | st.sampled_from(["", "0", "-1", "1e308", "9" * 40, "2025-13-99", "\0", "\ud83d", "𝟛", "{"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=4,
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of each part of a JSON value, of texts with JSON in them, too."""
    found = [path] if path else []
    if isinstance(value, str) and value.startswith("{"):
        with suppress(ValueError):
            return found + places(json.loads(value), (*path, json.loads))
    if isinstance(value, dict | list):
        members = value.items() if isinstance(value, dict) else enumerate(value)
        for key, member in members:
            found += places(member, (*path, key))
    return found


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """Return a JSON value with another part at a path."""
    if not path:
        return new
    step, *rest = path
    if step is json.loads:
        return json.dumps(replaced(json.loads(value), tuple(rest), new))
    changed = copy.copy(value)
    changed[step] = replaced(value[step], tuple(rest), new)
    return changed


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, bytes]:
    """Draw a path, and a valid body of it with one to three parts replaced, or some bytes."""
    path = draw(st.sampled_from(sorted(VALID)))
    value = draw(st.sampled_from(VALID[path]))
    for _ in range(draw(st.integers(1, 3))):
        if where := places(value):
            value = replaced(value, draw(st.sampled_from(where)), draw(JSON))
    text = json.dumps(value).encode()
    if draw(st.integers(0, 9)) == 0:
        cut = draw(st.integers(0, len(text)))
        text = text[:cut] + draw(st.binary(max_size=4)) + text[cut + 1 :]
    return path, text


@settings(FUZZED, max_examples=4 * EXAMPLES)
@given(mutated())
def test_bodies_that_are_nearly_right(target: Target, sent: tuple[str, bytes]) -> None:
    path, content = sent
    for headers in (AUTHORIZED, {"X-Write-Key": KEY[:-1]}):
        response = target.client.post(target.address + path, content=content, headers=headers)
        authorized = headers is AUTHORIZED
        target.note(response.status_code, response.json, authorized=authorized)
        if authorized:
            assert response.status_code in (202, 400), response.text
        if response.status_code != 202:
            assert response.headers["content-type"] == "application/problem+json"
            assert response.json()["detail"]


def test_only_what_was_accepted_is_on_the_brokers(target: Target, consume_all: Any) -> None:
    print("requests by status:", dict(sorted(target.statuses.items())))
    assert sum(target.statuses.values()) >= 8 * EXAMPLES
    assert target.accepted > 0
    assert len(consume_all(target.settings, Topic.CLICKSTREAM)) == target.accepted
