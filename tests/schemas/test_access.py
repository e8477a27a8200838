"""The list of who may do what: complete, in full names, and of nothing that is not needed."""

from __future__ import annotations

import pytest

from schemas.access import USED_BY, Identity, Operation, Resource, grants
from schemas.settings import Settings
from schemas.topics import InsightsTopic, Topic

SETTINGS = Settings.model_validate(
    {
        "kafka": {"topic_prefix": "shop."},
        "worker": {"delivery": "exactly_once", "group_id": "workers"},
        "insights": {"group_id": "counters"},
        "sink": {"group_id": "copiers"},
    }
)
EVERYBODY = {identity: grants(SETTINGS, identity) for identity in Identity}


def allowed(operation: Operation) -> dict[str, set[Identity]]:
    """By topic, who may do this to it."""
    found: dict[str, set[Identity]] = {}
    for identity, granted in EVERYBODY.items():
        for grant in granted:
            if grant.resource is Resource.TOPIC and operation in grant.operations:
                found.setdefault(grant.name, set()).add(identity)
    return found


def test_every_identity_is_somebody_s():
    assert set(USED_BY) == set(Identity)
    assert all(EVERYBODY.values())


def test_every_topic_is_written_by_somebody_and_created_by_one():
    names = {f"shop.{topic.value}" for topic in Topic}
    own = {f"shop.{topic.value}" for topic in InsightsTopic}
    assert set(allowed(Operation.WRITE)) == names | own
    created = allowed(Operation.CREATE)
    assert created == {name: {Identity.ADMIN} for name in names} | {
        name: {Identity.INSIGHTS} for name in own
    }


def test_users_states_are_the_worker_s_alone():
    assert allowed(Operation.WRITE)["shop.user-state"] == {Identity.WORKER}
    assert allowed(Operation.READ)["shop.user-state"] == {Identity.WORKER, Identity.EXPORT}


def test_who_publishes_events_reads_nothing():
    readers = {identity for who in allowed(Operation.READ).values() for identity in who}
    assert not readers & {Identity.TRACKER, Identity.LOADER, Identity.ADMIN}


def test_who_reads_recommendations_writes_nothing():
    writers = {identity for who in allowed(Operation.WRITE).values() for identity in who}
    assert not writers & {Identity.SUBSCRIBER, Identity.SINK, Identity.ANALYST, Identity.EXPORT}


def test_names_are_those_of_the_settings():
    groups = {g.name for granted in EVERYBODY.values() for g in granted if g.resource == "group"}
    assert groups == {"workers", "counters", "copiers", "innerloop-subscriber"}
    (transactions,) = (g for g in EVERYBODY[Identity.WORKER] if g.prefixed)
    assert (transactions.resource, transactions.name) == (Resource.TRANSACTIONS, "workers-")


def test_transactions_are_for_exactly_once_only():
    at_least_once = Settings.model_validate({"worker": {"delivery": "at_least_once"}})
    resources = {grant.resource for grant in grants(at_least_once, Identity.WORKER)}
    assert Resource.TRANSACTIONS not in resources


@pytest.mark.parametrize("identity", Identity)
def test_a_resource_is_named_once(identity):
    named = [(grant.resource, grant.name) for grant in EVERYBODY[identity]]
    assert len(named) == len(set(named))
