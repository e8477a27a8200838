"""Privacy requests on real Kafka: what is left of a user, whom it concerns, what comes after."""

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from exactly_once_parts import EXACTLY_ONCE
from privacy_parts import Shop, now_ms
from prometheus_client import generate_latest
from running_worker import drain, make_topics, running, wait_until, with_worker

from producer import PrivacyRequests, Tracker
from schemas.errors import BrokerError
from schemas.privacy import PrivacyAction
from schemas.pseudonyms import all_pseudonyms
from schemas.settings import Settings
from schemas.topics import Topic
from worker.subscriber.redis_sink.metrics import SinkMetrics
from worker.subscriber.redis_sink.service import RedisSink

RAW_ID = "private-person-4711"
OTHERS = [f"somebody-{n}" for n in range(60)]
KEY, OLD_KEY = "the key that is used today", "the key that was used before"


@pytest.fixture
def shop(kafka_settings, produce_all, consume_all) -> Shop:
    return Shop(with_worker(kafka_settings), produce_all, consume_all)


def with_keys(settings: Settings, key: str, *previous: str) -> Settings:
    privacy = {"user_id_key": key, "previous_user_id_keys": previous}
    return Settings.model_validate({**settings.model_dump(), "privacy": privacy})


@contextmanager
def replay(settings: Settings) -> Iterator[None]:
    """Keep publishing events of others while the block runs."""
    stop = threading.Event()

    def publish() -> None:
        with Tracker(settings) as tracker:
            number = 0
            while not stop.wait(0.01):
                for user in OTHERS:
                    tracker.view(user, f"i{number % 40}")
                number += 1

    with ThreadPoolExecutor(1) as thread:
        run = thread.submit(publish)
        try:
            yield
        finally:
            stop.set()
            run.result(120)


@contextmanager
def redis_sink(settings: Settings) -> Iterator:
    redis_servers = pytest.importorskip("tests.subscriber.redis_servers")
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder, ThreadPoolExecutor(1) as thread:
        server = redis_servers.RedisServer(Path(folder))
        server.start()
        data = settings.model_dump()
        data["sink"] |= {"redis_url": server.url, "group_id": f"{settings.worker.group_id}-sink"}
        sink = RedisSink(Settings.model_validate(data), SinkMetrics())
        run = thread.submit(sink.run)
        try:
            yield server.client
        finally:
            sink.stop()
            run.result(120)
            server.stop()


def in_redis(client, user_id: str) -> list[bytes]:
    return [key for key in client.scan_iter() if user_id.encode() in key]


def bytes_below(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


def everything_in(shop: Shop, topic: Topic) -> bytes:
    parts = []
    for message in shop.consume_all(shop.settings, topic):
        headers = [value or b"" for _, value in message.headers() or []]
        parts += [message.key() or b"", message.value() or b"", *headers]
    return b"\n".join(parts)


def test_a_user_erased_under_load_is_nowhere_any_more(
    kafka_settings, produce_all, consume_all, tmp_path, caplog
):
    """The key that ids are hashed with was changed since the user was there."""
    folder = tmp_path / "users"
    at_first = with_keys(
        with_worker(kafka_settings, state_folder=folder, warm_restart=True, resident_users=10),
        OLD_KEY,
    )
    now = with_keys(at_first, KEY, OLD_KEY)
    caplog.set_level(logging.DEBUG)
    shop = Shop(now, produce_all, consume_all)
    [person] = all_pseudonyms(at_first.privacy, RAW_ID)
    other = all_pseudonyms(now.privacy, OTHERS[0])[0]
    with redis_sink(now) as redis, running(now) as worker, replay(now):
        with Tracker(at_first) as tracker:
            for number in range(5):
                tracker.view(RAW_ID, f"i{number}")
            tracker.search(RAW_ID, "something very private")
        wait_until(lambda: in_redis(redis, person), "the user answered, for the storefront, too")
        assert shop.seen()[person] == 6
        with PrivacyRequests(now) as requests:
            request = requests.erase(RAW_ID)
        shop.await_audit([request])
        wait_until(lambda: not in_redis(redis, person), "the answer gone from Redis")
        # What was on its way when the user asked.
        shop.visited([person], 3, time=now_ms() - 60_000)
        erased = {"outcome": "erased"}
        wait_until(lambda: worker.sample("innerloop_records_total", **erased) == 3, "late events")
        metrics = generate_latest(worker.service.metrics.registry)
        assert in_redis(redis, other)
    records = shop.audit()[request]
    assert len(records) == 2, "one for each key that there ever was"
    assert sum(record.states_removed for record in records) == 1
    assert {record.action for record in records} == {PrivacyAction.ERASE}
    for topic in (Topic.USER_STATE, Topic.RECOMMENDATIONS):
        latest = shop.latest(topic)
        assert latest[person] is None
        assert latest[other] is not None
    left = {
        "snapshot": bytes_below(folder),
        "metrics": metrics,
        "logs": caplog.text.encode(),
        "dead letters": everything_in(shop, Topic.DEAD_LETTERS),
        "audit": everything_in(shop, Topic.PRIVACY_AUDIT),
        "item transitions": everything_in(shop, Topic.ITEM_TRANSITIONS),
    }
    assert other.encode() in left["snapshot"], "it holds the users that were there at the end"
    for place, content in left.items():
        assert person.encode() not in content, place
        assert RAW_ID.encode() not in content, place
        assert b"something very private" not in content, place


def test_consent_withdrawn_ends_all_use_until_it_is_granted_again(shop):
    with running(shop.settings) as worker, PrivacyRequests(shop.settings) as requests:
        shop.visited(["u", "v"], 3)
        drain(shop.settings)
        shop.await_audit([requests.withdraw_consent("u")])
        shop.visited(["u", "v"], 2)
        drain(shop.settings)
        assert shop.seen() == {"v": 5}
        assert worker.sample("innerloop_records_total", outcome="no_consent") == 2
        shop.await_audit([requests.grant_consent("u")])
        shop.visited(["u"], 2, time=now_ms() - 60_000)  # of while it was withdrawn
        shop.visited(["u", "v"], 1)
        drain(shop.settings)
        assert shop.seen() == {"u": 1, "v": 6}
        done = "innerloop_privacy_requests_total"
        for action in (PrivacyAction.WITHDRAW_CONSENT, PrivacyAction.GRANT_CONSENT):
            assert worker.sample(done, action=action.value, result="done") == 1
        assert worker.sample("innerloop_privacy_request_seconds_count") == 2
        assert worker.sample("innerloop_privacy_users_barred") == 1


def test_a_worker_that_takes_over_neither_forgets_a_request_nor_repeats_it(
    kafka_settings, produce_all, consume_all
):
    shop = Shop(with_worker(kafka_settings, **EXACTLY_ONCE), produce_all, consume_all)
    users = [f"user-{n}" for n in range(30)]
    erased, back = users[:20], users[:10]
    with running(shop.settings):
        shop.visited(users, 3)
        drain(shop.settings)
        requests = shop.erase(erased)
        shop.await_audit(requests.values())
        shop.visited(back, 2)
        drain(shop.settings)
        with running(shop.settings) as second:
            ready = "innerloop_restored_partitions_total"
            wait_until(lambda: second.sample(ready, source="changelog") > 0, "partitions moved")
            shop.visited(erased, 2, time=now_ms() - 60_000)
            shop.visited(back, 1)
            drain(shop.settings)
    with running(shop.settings):  # and one after both
        shop.visited(erased, 1, time=now_ms() - 60_000)
        shop.visited(back, 1)
        drain(shop.settings)
    assert shop.seen() == dict.fromkeys(back, 4) | dict.fromkeys(users[20:], 3)
    records = [len(shop.audit()[request]) for request in requests.values()]
    assert records == [1] * len(requests)


def test_requests_made_while_no_worker_runs_come_before_the_first_event(shop):
    with running(shop.settings):
        shop.visited(["u", "v"], 3)
        drain(shop.settings)
    shop.visited(["u"], 2)
    requests = shop.erase(["u"])
    with running(shop.settings) as worker:
        shop.await_audit(requests.values())
        shop.visited(["u", "v"], 1)
        drain(shop.settings)
        assert worker.sample("innerloop_records_total", outcome="erased") == 2
    assert shop.seen() == {"u": 1, "v": 4}


def test_a_request_that_cannot_be_read_is_counted_and_stops_nobody(shop, caplog):
    bad = [("secret-user", b'{"request_id":"r","user_id":"secret-user","action":"e'), (b"", b"{}")]
    bad += [("secret-user", b'{"request_id":"r","user_id":"x","action":"erase","time":1}')]
    with running(shop.settings) as worker:
        shop.visited(["u"], 2)
        drain(shop.settings)
        shop.produce_all(shop.settings, Topic.PRIVACY, bad)
        shop.await_audit(shop.erase(["u"]).values())
        counted = {"action": "unknown", "result": "invalid"}
        wait_until(
            lambda: worker.sample("innerloop_privacy_requests_total", **counted) == len(bad),
            "what is wrong counted",
        )
    assert shop.seen() == {}
    assert "a privacy request cannot be read" in caplog.text
    assert "secret-user" not in caplog.text


def test_without_its_topics_a_worker_serves_and_says_so(kafka_settings, produce_all, caplog):
    from confluent_kafka.admin import AdminClient

    settings = with_worker(kafka_settings)
    make_topics(settings)
    names = [settings.kafka.topic(topic) for topic in (Topic.PRIVACY, Topic.PRIVACY_AUDIT)]
    admin = AdminClient(settings.kafka.client_config())
    for future in admin.delete_topics(names).values():
        future.result(60)
    wait_until(lambda: not set(names) & admin.list_topics(timeout=30).topics.keys(), "topics gone")
    with running(settings):
        drain(settings)
    assert all(f"topic {name} does not exist" in caplog.text for name in names)


def test_a_topic_that_is_cut_up_otherwise_is_refused(kafka_settings):
    from confluent_kafka.admin import AdminClient, NewPartitions

    settings = with_worker(kafka_settings)
    make_topics(settings)
    name = settings.kafka.topic(Topic.PRIVACY)
    admin = AdminClient(settings.kafka.client_config())
    for future in admin.create_partitions([NewPartitions(name, 5)]).values():
        future.result(60)
    wait_until(
        lambda: len(admin.list_topics(timeout=30).topics[name].partitions) == 5, "more partitions"
    )
    with pytest.raises(BrokerError, match=rf"{name} has 5 partitions"), running(settings):
        pass
    with (
        PrivacyRequests(settings) as requests,
        pytest.raises(BrokerError, match=rf"{name} has 5 partitions"),
    ):
        requests.erase("u")
