"""Events of the SDK and of four vendors' payloads, and the recommendations that they cause."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import msgspec
import pytest
from collecting import KEY
from test_collector_server import running
from test_ga4_adapter import body
from test_segment_adapter import call
from test_shopify_adapter import event
from test_snowplow_adapter import action, payload, product

from producer import Tracker
from schemas.recommendations import Recommendation
from schemas.settings import Settings
from schemas.topics import Topic
from worker.bench.brokers import Broker
from worker.bench.made_up_bundle import write_made_up_bundle
from worker.bench.shop import Shop
from worker.bench.stand import Stand, stand
from worker.broker.kafka import KafkaBroker
from worker.demo.children import Children

PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def shop_stand(
    kafka_broker: KafkaBroker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stand]:
    """A worker that serves a small shop, on Apache Kafka."""
    folder = tmp_path_factory.mktemp("shop")
    shop = Shop.of_size(300, 20)
    write_made_up_bundle(folder / "bundle", shop, dim=16, rank=4, memory=False, seed=0)
    broker = Broker("kafka", kafka_broker.bootstrap_servers, {})
    with (
        stand(Settings(), broker, folder, folder / "bundle", 3) as made,
        Children(folder / "logs") as children,
    ):
        made.publish_catalogue(shop)
        made.start_workers(children)
        yield made


def answers(made: Stand, caused_by: set[str]) -> dict[str, Recommendation]:
    """Wait until there is a recommendation for each of these events; return them."""
    decode = msgspec.json.Decoder(Recommendation).decode
    found: dict[str, Recommendation] = {}
    consumer = made.consumer()
    try:
        consumer.subscribe([made.settings.kafka.topic(Topic.RECOMMENDATIONS)])
        deadline = time.monotonic() + PATIENCE_S
        while not caused_by <= found.keys():
            assert time.monotonic() < deadline, f"no answer to {caused_by - found.keys()}"
            for message in consumer.consume(100, timeout=0.2):
                if message.error() is None:
                    answer = decode(message.value())
                    found[answer.caused_by] = answer
    finally:
        consumer.close()
    return {event_id: found[event_id] for event_id in caused_by}


def test_an_event_of_the_sdk_is_answered(shop_stand):
    with Tracker(shop_stand.settings) as tracker:
        receipt = tracker.view(user_id="newcomer", item_id="i0000003")
    (answer,) = answers(shop_stand, {receipt.event_id}).values()
    assert (answer.user_id, answer.events_seen) == ("newcomer", 1)
    assert answer.items


def test_events_of_four_vendors_are_answered(shop_stand):
    bought = [{"item_id": f"i000000{n}", "price": 2.5, "quantity": 1} for n in (1, 2)]
    variant = {"id": "v", "product": {"id": "i0000004"}, "price": None}
    view = {"id": "i0000003", "category": "x", "price": 1, "currency": "EUR"}
    payloads = {
        "/v1/ga4": body("purchase", {"currency": "EUR", "items": bought}, client_id="by-ga4"),
        "/v1/segment": call("Product Added", {"product_id": "i0000005"}, anonymousId="by-segment"),
        "/v1/snowplow": payload(
            action("product_view", [product(view)], encode=True, duid="by-snowplow")
        ),
        "/v1/shopify": event("product_viewed", {"productVariant": variant}, clientId="by-shopify"),
    }
    caused_by: dict[str, str] = {}
    with running(shop_stand.settings) as (_, address, _):
        for path, sent in payloads.items():
            headers = {"authorization": f"Bearer {KEY}"}
            response = httpx.post(address + path, json=sent, headers=headers)
            assert response.status_code == 202, response.text
            for event_id in response.json()["event_ids"]:
                caused_by[event_id] = f"by-{path.rpartition('/')[2]}"
    assert len(caused_by) == 5
    found = answers(shop_stand, set(caused_by))
    assert {event_id: answer.user_id for event_id, answer in found.items()} == caused_by
    seen = [answer.events_seen for answer in found.values() if answer.user_id == "by-ga4"]
    assert sorted(seen) == [1, 2]
    assert all(answer.items and answer.adaptation.steps for answer in found.values())
