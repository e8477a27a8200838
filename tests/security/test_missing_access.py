"""Without one of its entries an identity ends with one clear error that says what it lacks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AclBinding
from recording_learner import recording
from running_worker import RunningWorker, with_worker
from secured_shop import PATIENCE_S, SecuredShop

from producer import PrivacyRequests, Tracker
from producer.publisher import Publisher
from schemas.access import Identity, Operation, Resource
from schemas.catalog import CatalogItem
from schemas.errors import BrokerError
from schemas.topics import Topic
from worker.access_control import access_of, bindings
from worker.dead_letters.inspection import inspect
from worker.dead_letters.records import Selection
from worker.kafka_admin import consumer_lag, inspect_topics
from worker.rollout.plan_log import PlanLog
from worker.subscriber.reading import RecommendationReader

pytestmark = pytest.mark.kafka

NOT_SEEN = "may not see it: `innerloop topics acls`"
NO_ACCESS = "an access control entry is missing; `innerloop topics acls`"
NO_GROUP = "an access control entry is missing for the group, see worker.group_id"


def entry(
    shop: SecuredShop, identity: Identity, resource: Resource, name: str, operation: Operation
) -> AclBinding:
    """Return one of an identity's entries."""
    settings = shop.by_password(identity, worker={"delivery": "exactly_once"})
    (access,) = access_of(settings, [identity])
    full = settings.kafka.topic(name) if isinstance(name, Topic) else name
    (found,) = [
        binding
        for binding in bindings(access)
        if binding.name == full
        and binding.restype.name.replace("_", "-").lower() == resource.value
        and binding.operation.name.replace("_", "").lower() == operation.value.lower()
    ]
    return found


def work(shop: SecuredShop, folder: Path, delivery: str) -> None:
    """Run a worker until it has answered an event, or ended with an error."""
    settings = with_worker(shop.by_password(Identity.WORKER), delivery=delivery)
    worker = RunningWorker(settings, item_memory=recording())
    with Tracker(shop.by_password(Identity.TRACKER)) as tracker:
        tracker.view("u-lost", "i1").wait(PATIENCE_S)
    try:
        worker.start()
    finally:
        worker.result()


@pytest.fixture
def items(shop: SecuredShop) -> None:
    publisher = Publisher(shop.by_password(Identity.LOADER))
    publisher.send(Topic.CATALOG, "i1", CatalogItem(item_id="i1", title="thing"))
    assert publisher.flush(PATIENCE_S) == 0


@pytest.mark.usefixtures("items")
@pytest.mark.parametrize(
    ("delivery", "resource", "name", "operation", "told"),
    [
        ("at_least_once", Resource.TOPIC, Topic.CLICKSTREAM, Operation.READ, NOT_SEEN),
        ("at_least_once", Resource.TOPIC, Topic.CATALOG, Operation.READ, NOT_SEEN),
        ("at_least_once", Resource.TOPIC, Topic.RECOMMENDATIONS, Operation.WRITE, NOT_SEEN),
        ("at_least_once", Resource.TOPIC, Topic.DEAD_LETTERS, Operation.WRITE, NOT_SEEN),
        ("at_least_once", Resource.TOPIC, Topic.ITEM_TRANSITIONS, Operation.READ, NO_ACCESS),
        ("at_least_once", Resource.TOPIC, Topic.USER_STATE, Operation.READ, NO_ACCESS),
        ("at_least_once", Resource.TOPIC, Topic.USER_STATE, Operation.WRITE, NO_ACCESS),
        ("exactly_once", Resource.TOPIC, Topic.USER_STATE, Operation.WRITE, NO_ACCESS),
        ("at_least_once", Resource.GROUP, "innerloop-worker", Operation.READ, NO_GROUP),
        ("exactly_once", Resource.GROUP, "innerloop-worker", Operation.READ, NO_GROUP),
        (
            "exactly_once",
            Resource.TRANSACTIONS,
            "innerloop-worker-",
            Operation.WRITE,
            NO_ACCESS,
        ),
    ],
)
def test_a_worker(shop: SecuredShop, tmp_path, delivery, resource, name, operation, told):
    lost = entry(shop, Identity.WORKER, resource, name, operation)
    with shop.without(lost), pytest.raises(BrokerError) as raised:
        work(shop, tmp_path, delivery)
    assert told in str(raised.value)
    # Of a transaction the brokers say only that a topic, or a group, was not allowed.
    assert told == NO_GROUP or delivery == "exactly_once" or name in str(raised.value)


def track(shop: SecuredShop) -> None:
    with Tracker(shop.by_certificate(Identity.TRACKER)) as tracker:
        tracker.check()


def load(shop: SecuredShop) -> None:
    Publisher(shop.by_password(Identity.LOADER)).check(Topic.CATALOG, Topic.CLICKSTREAM)


def ask_for_privacy(shop: SecuredShop) -> None:
    with PrivacyRequests(shop.by_password(Identity.PRIVACY)) as requests:
        requests.grant_consent("u-1")


def subscribe(shop: SecuredShop) -> None:
    reader = RecommendationReader(shop.by_password(Identity.SUBSCRIBER), minutes_back=5)
    try:
        while not reader.caught_up:
            list(reader.read(0.2))
    finally:
        reader.close()


def read_plans(shop: SecuredShop) -> None:
    log = PlanLog(shop.by_password(Identity.ROLLOUT))
    try:
        log.read_to_end()
    finally:
        log.close()


def inspect_letters(shop: SecuredShop) -> None:
    settings = shop.by_password(Identity.OPERATOR)
    producer = Producer(settings.kafka.producer_config())
    producer.produce(settings.kafka.topic(Topic.DEAD_LETTERS), b"no event", partition=0)
    assert producer.flush(PATIENCE_S) == 0
    inspect(settings, Selection(), 1)


def list_topics(shop: SecuredShop) -> None:
    states = inspect_topics(shop.by_password(Identity.ADMIN))
    assert all(state.exists for state in states)


def measure_lag(shop: SecuredShop) -> None:
    settings = shop.by_password(Identity.ADMIN)
    consumer_lag(settings, settings.worker.group_id)


@pytest.mark.parametrize(
    ("identity", "resource", "name", "operation", "act"),
    [
        (Identity.TRACKER, Resource.TOPIC, Topic.CLICKSTREAM, Operation.WRITE, track),
        (Identity.LOADER, Resource.TOPIC, Topic.CATALOG, Operation.WRITE, load),
        (Identity.PRIVACY, Resource.TOPIC, Topic.PRIVACY, Operation.WRITE, ask_for_privacy),
        (Identity.PRIVACY, Resource.TOPIC, Topic.CLICKSTREAM, Operation.DESCRIBE, ask_for_privacy),
        (Identity.SUBSCRIBER, Resource.TOPIC, Topic.RECOMMENDATIONS, Operation.READ, subscribe),
        (
            Identity.SUBSCRIBER,
            Resource.GROUP,
            "innerloop-subscriber",
            Operation.DESCRIBE,
            subscribe,
        ),
        (Identity.ROLLOUT, Resource.TOPIC, Topic.MODELS, Operation.READ, read_plans),
        (Identity.ROLLOUT, Resource.GROUP, "innerloop-worker", Operation.DESCRIBE, read_plans),
        (Identity.OPERATOR, Resource.TOPIC, Topic.DEAD_LETTERS, Operation.READ, inspect_letters),
        (
            Identity.ADMIN,
            Resource.TOPIC,
            Topic.CATALOG,
            Operation.DESCRIBE_CONFIGS,
            list_topics,
        ),
        (Identity.ADMIN, Resource.GROUP, "innerloop-worker", Operation.DESCRIBE, measure_lag),
    ],
)
def test_others(
    shop: SecuredShop, identity, resource, name, operation, act: Callable[[SecuredShop], None]
):
    act(shop)
    lost = entry(shop, identity, resource, name, operation)
    with shop.without(lost), pytest.raises(BrokerError, match="`innerloop topics acls`") as raised:
        act(shop)
    assert name in str(raised.value) or resource is Resource.GROUP
