"""The worker on a broker: every event answered once, restarts, rebalances, a living catalogue."""

from collections import Counter, defaultdict

import msgspec
import numpy as np
import pytest
from fake_model import FakeModel
from running_worker import (
    RunningWorker,
    drain,
    make_topics,
    running,
    wait_until,
    with_worker,
)
from worker_parts import event, item

from schemas.clickstream import ClickstreamEvent, EventType
from schemas.codec import decode_state
from schemas.errors import BrokerError
from schemas.recommendations import Recommendation
from schemas.topics import Topic
from worker.service import WorkerService

encode = msgspec.json.encode
decode_recommendation = msgspec.json.Decoder(Recommendation).decode


def catalogue_records(numbers, **fields):
    return [(f"i{n}", encode(item(n, **fields))) for n in numbers]


def event_records(events: list[ClickstreamEvent]):
    return [(e.user_id, encode(e)) for e in events]


def visits(users: int, length: int, seed: int = 0) -> list[ClickstreamEvent]:
    draw = np.random.default_rng(seed)
    kinds = [EventType.VIEW, EventType.CLICK, EventType.ADD_TO_CART, EventType.IMPRESSION]
    return [
        event(f"u{u}", n, f"i{draw.integers(40)}", type=kinds[int(draw.integers(4))])
        for n in range(length)
        for u in draw.permutation(users)
    ]


@pytest.fixture
def settings(broker_settings):
    """Settings for each broker in turn, with topics and a catalogue of forty items."""
    settings = with_worker(broker_settings)
    make_topics(settings)
    return settings


@pytest.fixture
def filled(settings, produce_all):
    produce_all(settings, Topic.CATALOG, catalogue_records(range(40)))
    return settings


def answers(consume_all, settings) -> list[Recommendation]:
    return [decode_recommendation(m.value()) for m in consume_all(settings, Topic.RECOMMENDATIONS)]


def test_every_event_is_answered_once_in_its_partition(filled, produce_all, consume_all):
    events = visits(users=30, length=10)
    sent = produce_all(filled, Topic.CLICKSTREAM, event_records(events))
    with running(filled) as worker:
        drain(filled)
        assert worker.sample("innerloop_records_total", outcome="applied") == len(events)
        wait_until(
            lambda: worker.sample("innerloop_consumer_lag_records", partition="0") == 0, "no lag"
        )
    messages = consume_all(filled, Topic.RECOMMENDATIONS)
    found = [decode_recommendation(m.value()) for m in messages]
    assert Counter(r.caused_by for r in found) == Counter(e.event_id for e in events)
    assert all(len(r.items) == 5 for r in found)
    partitions = {m.key(): m.partition() for m in sent}
    assert {m.key(): m.partition() for m in messages} == partitions
    seen = defaultdict(list)
    for message, answer in zip(messages, found, strict=True):
        assert message.key() == answer.user_id.encode()
        seen[answer.user_id].append(answer.events_seen)
    assert all(numbers == list(range(1, 11)) for numbers in seen.values())
    states = [decode_state(m.value()) for m in consume_all(filled, Topic.USER_STATE)]
    last = {state.user_id: state for state in states}
    assert {user: state.events_seen for user, state in last.items()} == dict.fromkeys(seen, 10)
    assert all(s.partition == partitions[s.user_id.encode()] for s in states)


def test_a_restarted_worker_ends_where_one_that_never_stopped_does(
    broker_settings, produce_all, consume_all
):
    events = visits(users=20, length=12, seed=4)
    thirds = [events[:70], events[70:150], events[150:]]
    found = []
    for pieces in ([events], thirds):
        prefix = broker_settings.kafka.topic_prefix + f"{len(pieces)}."
        settings = with_worker(broker_settings, group_id=prefix)
        kafka = settings.kafka.model_copy(update={"topic_prefix": prefix})
        settings = settings.model_copy(update={"kafka": kafka})
        make_topics(settings)
        produce_all(settings, Topic.CATALOG, catalogue_records(range(40)))
        for piece in pieces:
            produce_all(settings, Topic.CLICKSTREAM, event_records(piece))
            with running(settings) as worker:
                drain(settings)
        states = [decode_state(m.value()) for m in consume_all(settings, Topic.USER_STATE)]
        found.append((answers(consume_all, settings), {s.user_id: s for s in states}))
    assert worker.sample("innerloop_restored_states_total", result="restored") >= 20
    assert worker.sample("innerloop_restore_seconds_count") >= 1
    (steady, steady_states), (restarted, restarted_states) = found
    assert {r.caused_by: r.items for r in steady}.keys() == {r.caused_by for r in restarted}
    assert_same_answers(steady, restarted)
    assert_same_states(steady_states, restarted_states)


def assert_same_answers(left, right) -> None:
    """Same answers, by recommendation id, but for rounding: the micro-batches were others."""
    right_by_id = {r.recommendation_id: r for r in right}
    for a in left:
        b = right_by_id[a.recommendation_id]
        assert (a.user_id, a.caused_by, a.events_seen) == (b.user_id, b.caused_by, b.events_seen)
        assert a.adaptation.steps == b.adaptation.steps
        assert [i.item_id for i in a.items] == [i.item_id for i in b.items]
        np.testing.assert_allclose(
            [i.score for i in a.items], [i.score for i in b.items], atol=1e-4
        )


def assert_same_states(left, right) -> None:
    """The same states to the bit: what is stored is what the worker goes on with."""
    assert left == right


def test_new_changed_and_removed_items_count_while_running(filled, produce_all, consume_all):
    model = FakeModel()
    with running(filled, model) as worker:
        produce_all(filled, Topic.CLICKSTREAM, event_records([event("u", 0, "i100")]))
        drain(filled)
        assert worker.sample("innerloop_events_without_step_total", cause="unknown_item") == 1
        known = worker.sample("innerloop_catalogue_records_total", change="added")
        produce_all(filled, Topic.CATALOG, catalogue_records([100]))
        # What has not been fetched yet of two topics has no order.
        wait_until(
            lambda: worker.sample("innerloop_catalogue_records_total", change="added") > known,
            "the new item read",
        )
        produce_all(filled, Topic.CLICKSTREAM, event_records([event("u", 1, "i100")]))
        drain(filled)
        gone = [(f"i{n}", None) for n in range(20)]
        hidden = catalogue_records(range(20, 37), available=False)
        broken = [("i101", b"{"), ("", b"{}"), ("i102", encode(item(7)))]
        produce_all(filled, Topic.CATALOG, [*gone, *hidden, *broken])
        wait_until(
            lambda: worker.sample("innerloop_catalogue_records_total", change="invalid") == 3,
            "the catalogue read",
        )
        produce_all(filled, Topic.CLICKSTREAM, event_records([event("u", 2, "i38")]))
        drain(filled)
        assert worker.sample("innerloop_catalogue_items", state="available") == 4
        assert worker.sample("innerloop_catalogue_items", state="unavailable") == 17
    first, second, third = answers(consume_all, filled)
    assert [r.adaptation.steps for r in (first, second, third)] == [0, 1, 1]
    assert {i.item_id for i in third.items} == {"i37", "i38", "i39", "i100"}


def test_an_empty_catalogue_is_served_and_followed(settings, produce_all, consume_all):
    with running(settings) as worker:
        produce_all(settings, Topic.CLICKSTREAM, event_records([event("u", 0)]))
        drain(settings)
        produce_all(settings, Topic.CATALOG, catalogue_records(range(3)))
        # Two topics have no order: records of either may be fetched first.
        known = {"state": "available"}
        wait_until(lambda: worker.sample("innerloop_catalogue_items", **known) == 3, "the items")
        produce_all(settings, Topic.CLICKSTREAM, event_records([event("u", 1)]))
        drain(settings)
    assert [len(r.items) for r in answers(consume_all, settings)] == [0, 3]


def test_a_second_worker_takes_over_partitions_with_their_users(filled, produce_all, consume_all):
    events = visits(users=30, length=9, seed=7)
    pieces = [events[:90], events[90:180], events[180:]]
    with running(filled) as first:
        produce_all(filled, Topic.CLICKSTREAM, event_records(pieces[0]))
        drain(filled)
        with running(filled) as second:
            wait_until(
                lambda: second.sample("innerloop_restore_seconds_count") > 0, "partitions moved"
            )
            produce_all(filled, Topic.CLICKSTREAM, event_records(pieces[1]))
            drain(filled)
            assert second.sample("innerloop_restored_states_total", result="restored") > 0
            applied = [
                w.sample("innerloop_records_total", outcome="applied") for w in (first, second)
            ]
            assert sum(applied) == 180 and min(applied) > 0
            users = [w.sample("innerloop_users_resident") for w in (first, second)]
            assert sum(users) == 30 and min(users) > 0
        produce_all(filled, Topic.CLICKSTREAM, event_records(pieces[2]))
        drain(filled)
        assert first.sample("innerloop_users_resident") == 30
    found = answers(consume_all, filled)
    assert Counter(r.caused_by for r in found) == Counter(e.event_id for e in events)
    seen = defaultdict(list)
    for answer in found:
        seen[answer.user_id].append(answer.events_seen)
    assert all(numbers == list(range(1, 10)) for numbers in seen.values())


def test_a_missing_topic_is_named(broker_settings):
    with pytest.raises(BrokerError, match="clickstream does not exist; run `innerloop topics"):
        WorkerService(with_worker(broker_settings), FakeModel()).run()


def test_topics_that_must_go_in_parallel_are_checked(kafka_settings):
    settings = with_worker(kafka_settings)
    fewer = settings.kafka.model_copy(update={"partitions": 2})
    make_topics(settings.model_copy(update={"kafka": fewer}), {Topic.CLICKSTREAM: {}})
    wider = settings.kafka.topic(Topic.CLICKSTREAM)
    grow(settings, wider, 4)
    with pytest.raises(BrokerError, match=r"has 2 partitions and .* has 4"):
        WorkerService(settings, FakeModel()).run()


def grow(settings, name: str, partitions: int) -> None:
    from confluent_kafka.admin import AdminClient, NewPartitions

    admin = AdminClient(settings.kafka.client_config())
    for future in admin.create_partitions([NewPartitions(name, partitions)]).values():
        future.result(120)
    wait_until(
        lambda: len(admin.list_topics(name, timeout=60).topics[name].partitions) == partitions,
        "partitions added",
    )


def test_an_instance_id_that_another_worker_takes_ends_the_first(kafka_settings, produce_all):
    settings = with_worker(kafka_settings, instance_id="the-only-one")
    make_topics(settings)
    first = RunningWorker(settings)
    first.start()
    produce_all(settings, Topic.CLICKSTREAM, event_records([event("u", 0)]))
    drain(settings)
    with running(settings), pytest.raises(BrokerError, match="cannot be read"):
        first.result()
