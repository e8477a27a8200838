"""The client on brokers: what it keeps, what it waits for, how it ends."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from answers import answer, publish

from schemas.errors import BrokerError
from schemas.pseudonyms import pseudonymiser
from schemas.settings import PrivacySettings, Settings, WireSettings
from worker.kafka_admin import create_topics
from worker.subscriber import AsyncRecommendationClient, RecommendationClient

PATIENCE_S = 120.0


@pytest.fixture
def settings(embedded_settings) -> Settings:
    create_topics(embedded_settings)
    return embedded_settings


def test_importing_it_loads_neither_torch_nor_the_model():
    modules = (
        "worker.subscriber",
        "worker.subscriber.gateway.server",
        "worker.subscriber.redis_sink.service",
        "worker.cli.tail",
    )
    code = (
        f"import sys, {', '.join(modules)}; "
        "named = ('torch', 'numba', 'onnxruntime', 'transformers', 'producer'); "
        "heavy = [m for m in sys.modules if m.split('.')[0] in named "
        "or m.startswith(('worker.model', 'worker.stages'))]; assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_it_waits_for_the_answer_to_an_event_and_keeps_the_latest(broker_settings):
    create_topics(broker_settings)
    publish(broker_settings, answer("u", "e-before"))
    with RecommendationClient(broker_settings) as client, ThreadPoolExecutor(1) as other:
        waiting = other.submit(client.wait_for, "u", "e-2", PATIENCE_S)
        publish(broker_settings, answer("u", "e-1"), answer("v", "e-9"))
        assert client.wait_for("u", "e-1", PATIENCE_S).recommendation.caused_by == "e-1"
        assert not waiting.done()
        publish(broker_settings, answer("u", "e-2"))
        received = waiting.result(PATIENCE_S)
        assert received.recommendation.caused_by == "e-2"
        assert 0 < received.latency_ms < PATIENCE_S * 1000
        assert client.latest("u") == received
        assert client.wait_for("u", "e-1", 0) == received  # it is later than what was asked for
        assert client.latest("nobody") is None
        # From now on means from now on.
        with pytest.raises(TimeoutError, match=r"event e-before within 0\.1 s"):
            client.wait_for("u", "e-before", 0.1)


def test_it_can_begin_some_minutes_ago(broker_settings):
    create_topics(broker_settings)
    publish(broker_settings, answer("u", "e-1"), answer("u", "e-2"), answer("v", "e-3"))
    with RecommendationClient(broker_settings, minutes_back=5) as client:
        client.catch_up()
        assert client.latest("u").recommendation.caused_by == "e-2"
        assert client.latest("v").recommendation.caused_by == "e-3"
        assert client.users == 2


def test_aborted_transactions_are_not_read(kafka_settings):
    from confluent_kafka import Producer

    from schemas.codec import build_codec
    from schemas.topics import Topic

    create_topics(kafka_settings)
    producer = Producer(kafka_settings.kafka.producer_config(**{"transactional.id": "aborting"}))
    producer.init_transactions(30)
    topic, codec = (
        kafka_settings.kafka.topic(Topic.RECOMMENDATIONS),
        build_codec(kafka_settings.wire),
    )
    with RecommendationClient(kafka_settings) as client:
        producer.begin_transaction()
        producer.produce(topic, key="u", value=codec.encode(topic, answer("u", "aborted")))
        producer.flush(30)
        producer.abort_transaction(30)
        producer.begin_transaction()
        producer.produce(topic, key="u", value=codec.encode(topic, answer("u", "committed")))
        producer.commit_transaction(30)
        received = client.wait_for("u", "committed", PATIENCE_S)
        assert received.recommendation.caused_by == "committed"
        with pytest.raises(TimeoutError):
            client.wait_for("u", "aborted", 0)


def test_the_caller_gives_the_real_id_where_ids_are_pseudonyms(settings):
    privacy = PrivacySettings(user_id_key="a key of sixteen or more")
    hidden = settings.model_copy(update={"privacy": privacy})
    published_as = pseudonymiser(privacy)("u-7")
    with RecommendationClient(hidden) as client:
        publish(settings, answer(published_as, "e-1"))
        assert client.wait_for("u-7", "e-1", PATIENCE_S).recommendation.user_id == published_as
        assert client.latest("u-7") is not None
        assert client.latest(published_as) is None


def test_what_is_no_recommendation_is_skipped_and_a_null_value_removes_the_user(settings):
    with RecommendationClient(settings) as client:
        publish(settings, answer("u", "e-1"), b"garbage", answer("someone", "e-2"))
        client.wait_for("u", "e-1", PATIENCE_S)
        client.wait_for("someone", "e-2", PATIENCE_S)
        told = []
        heard = threading.Event()

        def listener(received):
            told.append(received)
            heard.set()

        stop = client.listen("u", listener)
        publish(settings, "u")
        assert heard.wait(PATIENCE_S)
        assert told == [None]
        assert client.latest("u") is None
        stop()
        publish(settings, answer("u", "e-3"))
        client.wait_for("u", "e-3", PATIENCE_S)
        assert told == [None]


def test_avro_by_the_settings(settings):
    wire = WireSettings(format="avro", registry_url="mock://subscribers")
    avro = settings.model_copy(update={"wire": wire})
    with RecommendationClient(avro) as client:
        publish(avro, answer("u", "e-1", items=["p-5"]))
        received = client.wait_for("u", "e-1", PATIENCE_S)
        assert [item.item_id for item in received.recommendation.items] == ["p-5"]


def test_whoever_waits_is_told_when_the_client_is_closed(settings):
    client = RecommendationClient(settings)
    with pytest.raises(BrokerError, match=r"not started"):
        client.latest("u")
    with client, ThreadPoolExecutor(1) as other:
        future = client.answer_to("u", "never")
        waiting = other.submit(client.wait_for, "u", "never", PATIENCE_S)
        client.close()
        for each in (future, waiting):
            with pytest.raises(BrokerError, match="closed"):
                each.result(PATIENCE_S)
    client.close()
    with pytest.raises(BrokerError, match="closed"):
        client.wait_for("u", "never", 0)


def test_a_waiter_that_gave_up_leaves_nothing_behind(settings):
    with RecommendationClient(settings) as client:
        with pytest.raises(TimeoutError):
            client.wait_for("u", "e", 0)
        assert not client._waiting
        stop = client.listen("u", lambda _: None)
        stop()
        stop()
        assert not client._listeners


def test_a_topic_or_broker_that_is_missing_is_said(embedded_settings, make_settings, monkeypatch):
    monkeypatch.setattr("worker.topic_follower._TELL_TIMEOUT_S", 0.5)
    nowhere = make_settings("127.0.0.1:1")
    with pytest.raises(BrokerError, match=r"kafka\.bootstrap_servers"):
        RecommendationClient(nowhere).start()
    monkeypatch.undo()
    missing = make_settings(embedded_settings.kafka.bootstrap_servers)
    with pytest.raises(BrokerError, match="innerloop topics create"):
        RecommendationClient(missing).start()


def test_partitions_added_later_are_read_from_their_beginning(kafka_settings):
    from confluent_kafka.admin import AdminClient, NewPartitions

    from schemas.topics import Topic

    create_topics(kafka_settings)
    limits = kafka_settings.subscriber.model_copy(update={"refresh_seconds": 0.2})
    settings = kafka_settings.model_copy(update={"subscriber": limits})
    topic = settings.kafka.topic(Topic.RECOMMENDATIONS)
    with RecommendationClient(settings) as client:
        admin = AdminClient(settings.kafka.client_config())
        admin.create_partitions([NewPartitions(topic, 12)])[topic].result(30)
        deadline = time.monotonic() + PATIENCE_S
        while len(admin.list_topics(topic, timeout=60).topics[topic].partitions) < 12:
            assert time.monotonic() < deadline
        users = [f"u-{n}" for n in range(40)]
        publish(settings, *(answer(user, f"e-{user}") for user in users))
        for user in users:
            client.wait_for(user, f"e-{user}", PATIENCE_S)


def test_the_same_with_asyncio(settings):
    async def shop() -> None:
        async with AsyncRecommendationClient(settings) as client:
            stream = client.stream("u")
            first = asyncio.ensure_future(anext(stream))
            waiting = asyncio.ensure_future(client.wait_for("u", "e-1", PATIENCE_S))
            await asyncio.sleep(0)
            await asyncio.to_thread(publish, settings, answer("u", "e-1"))
            received = await waiting
            assert received.recommendation.caused_by == "e-1"
            assert await asyncio.wait_for(first, PATIENCE_S) == received
            assert client.latest("u") == received
            with pytest.raises(TimeoutError, match="event e-2"):
                await client.wait_for("u", "e-2", 0.01)
            assert not client.sync._waiting
            await stream.aclose()
            assert not client.sync._listeners

    asyncio.run(shop())
