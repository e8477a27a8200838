"""The SDK on brokers: what is tracked arrives, once and in order, or it is said that it did not."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
from decimal import Decimal

import pytest
from prometheus_client import CollectorRegistry
from tracking import away, decoded, with_kafka

from producer import Tracker
from schemas.clickstream import EventType
from schemas.errors import BrokerError, DeliveryError, EventError, QueueFullError
from schemas.pseudonyms import pseudonymiser
from schemas.settings import Settings
from schemas.topics import Topic
from worker.kafka_admin import create_topics


@pytest.fixture
def settings(embedded_settings: Settings) -> Settings:
    create_topics(embedded_settings)
    return embedded_settings


def publish_one_of_each(tracker: Tracker) -> list[str]:
    offer = {"price": Decimal("9.50"), "currency": "EUR"}
    receipts = [
        tracker.view("u", "i", surface="home", session_id="s", **offer),
        tracker.impression("u", "i", recommendation_id="r"),
        tracker.click("u", "i", recommendation_id="r"),
        tracker.add_to_cart("u", "i", quantity=2, **offer),
        tracker.remove_from_cart("u", "i", quantity=1),
        tracker.purchase("u", "i", quantity=1, **offer),
        tracker.search("u", "rain boots"),
        tracker.review("u", "i", rating=4.5, text="warm and dry"),
    ]
    return [receipt.event_id for receipt in receipts]


def test_an_event_of_each_type_arrives(broker_settings, consume_all):
    create_topics(broker_settings)
    with Tracker(broker_settings, source="https://shop.example") as tracker:
        ids = publish_one_of_each(tracker)
    messages = consume_all(broker_settings, Topic.CLICKSTREAM)
    events = decoded(broker_settings, messages)

    assert [event.event_id for event in events] == ids
    assert [event.type for event in events] == list(EventType)
    view, impression, _, add, remove, purchase, search, review = events
    assert (view.surface, view.session_id, view.price, view.currency) == ("home", "s", 9.5, "EUR")
    assert impression.recommendation_id == "r"
    assert (add.quantity, remove.quantity, purchase.quantity) == (2, 1, 1)
    assert (search.query, search.item_id) == ("rain boots", None)
    assert (review.rating, review.text) == (4.5, "warm and dry")
    for message, event in zip(messages, events, strict=True):
        assert message.key() == b"u"
        headers = dict(message.headers())
        assert headers["ce_id"] == event.event_id.encode()
        assert headers["ce_type"] == f"innerloop.clickstream.{event.type.value}".encode()
        assert headers["ce_source"] == b"https://shop.example"
    assert tracker.counts.delivered == len(ids)
    assert tracker.counts.waiting == 0


def test_a_receipt_waits_for_the_acknowledgement(settings, consume_all):
    with Tracker(settings) as tracker:
        receipt = tracker.view("u", "i")
        receipt.wait(120)
        assert receipt.done and receipt.published
        assert len(consume_all(settings, Topic.CLICKSTREAM)) == 1
        assert tracker.counts.delivered == 1


def test_brokers_can_be_named_without_settings(settings, consume_all, monkeypatch):
    monkeypatch.setenv("INNERLOOP_KAFKA__TOPIC_PREFIX", settings.kafka.topic_prefix)
    with Tracker(bootstrap_servers=settings.kafka.bootstrap_servers) as tracker:
        tracker.view("u", "i")
    with Tracker(away(settings), bootstrap_servers=settings.kafka.bootstrap_servers) as tracker:
        tracker.check()
        tracker.view("u", "i")
    assert len(consume_all(settings, Topic.CLICKSTREAM)) == 2


def test_without_consent_nothing_is_published(settings, consume_all):
    with Tracker(settings) as tracker:
        receipt = tracker.view("u", "i", consent=False)
        receipt.wait(0)
        assert receipt.done and not receipt.published
        tracker.view("u", "i", consent=True)
    assert tracker.counts.no_consent == 1
    assert len(consume_all(settings, Topic.CLICKSTREAM)) == 1


def test_user_ids_are_hashed_in_key_and_value(settings, consume_all):
    privacy = settings.privacy.model_validate({"user_id_key": "0123456789abcdef"})
    with Tracker(settings.model_copy(update={"privacy": privacy})) as tracker:
        tracker.view("shopper@example.org", "i")
    (message,) = consume_all(settings, Topic.CLICKSTREAM)
    pseudonym = pseudonymiser(privacy)("shopper@example.org")
    assert message.key() == pseudonym.encode()
    assert decoded(settings, [message])[0].user_id == pseudonym
    assert b"example.org" not in message.value() + str(message.headers()).encode()


def test_a_wrong_event_is_refused_and_the_tracker_goes_on(settings):
    with Tracker(settings) as tracker:
        with pytest.raises(EventError, match=r"^currency: "):
            tracker.view("u", "i", price=3, currency="euro")
        with pytest.raises(EventError, match=r"^surfce: .*surface"):
            tracker.view("u", "i", surfce="home")
        with pytest.raises(EventError, match=r"^traceparent: "):
            tracker.view("u", "i", traceparent="x")
        with pytest.raises(EventError, match=r"worker\.max_event_bytes"):
            tracker.review("u", "i", text="\0" * 16_000)
        tracker.view("u", "i").wait(120)
        assert (tracker.counts.invalid, tracker.counts.delivered) == (4, 1)


def test_many_threads_may_share_a_tracker(settings, consume_all):
    with Tracker(settings) as tracker:

        def browse(user: str) -> None:
            for n in range(200):
                tracker.view(user, f"i{n}")

        threads = [threading.Thread(target=browse, args=(f"u{k}",)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    events = decoded(settings, consume_all(settings, Topic.CLICKSTREAM))
    for user in ("u0", "u1", "u2", "u3"):
        assert [e.item_id for e in events if e.user_id == user] == [f"i{n}" for n in range(200)]
    assert tracker.counts.delivered == 800


def test_what_does_not_fit_waits_for_room(settings, consume_all):
    small = with_kafka(settings, producer_properties={"queue.buffering.max.messages": 5})
    with Tracker(small) as tracker:
        for n in range(100):
            tracker.view("u", f"i{n}")
    events = decoded(settings, consume_all(settings, Topic.CLICKSTREAM))
    assert [event.item_id for event in events] == [f"i{n}" for n in range(100)]


@pytest.mark.parametrize("options", [{"when_full": "raise"}, {"full_wait_s": 0.1}])
def test_what_does_not_fit_is_refused(settings, options):
    full = away(settings, **{"queue.buffering.max.messages": 3, "message.timeout.ms": 60_000})
    tracker = Tracker(full, close_wait_s=0, **options)
    for _ in range(3):
        tracker.view("u", "i")
    with pytest.raises(
        QueueFullError, match=r"as many messages wait .*queue\.buffering\.max\.messages"
    ):
        tracker.view("u", "i")
    assert (tracker.counts.refused, tracker.counts.waiting) == (1, 3)
    assert tracker.flush(0.01) == 3
    with pytest.raises(DeliveryError, match="3 were not acknowledged"):
        tracker.close()


def test_what_is_given_up_is_told(settings, caplog):
    tracker = Tracker(away(settings, **{"message.timeout.ms": 100}))
    receipts = [tracker.view("shopper-7", "i") for _ in range(2)]
    for receipt in receipts:
        with pytest.raises(DeliveryError, match=r"not delivered: .*timed out"):
            receipt.wait(120)
    assert tracker.counts.failed == 2
    with pytest.raises(BrokerError, match="no Kafka broker answers"):
        tracker.check(timeout=0.1)
    with pytest.raises(DeliveryError, match="2 events were given up"):
        tracker.close()
    assert [r.getMessage() for r in caplog.records if "not delivered" in r.message]
    assert "shopper-7" not in caplog.text


def test_an_error_in_the_block_is_not_hidden_and_what_was_tracked_is_sent(settings, consume_all):
    with pytest.raises(ZeroDivisionError), Tracker(settings) as tracker:
        tracker.view("u", "i")
        1 / 0  # noqa: B018
    assert len(consume_all(settings, Topic.CLICKSTREAM)) == 1


def test_a_closed_tracker_takes_nothing(settings):
    with Tracker(settings) as tracker:
        pass
    with pytest.raises(BrokerError, match="closed"):
        tracker.view("u", "i")
    tracker.close()


def test_a_tracker_that_is_dropped_sends_what_waits(settings, consume_all):
    slow = with_kafka(settings, producer_properties={"linger.ms": 60_000})
    tracker = Tracker(slow)
    tracker.view("u", "i")
    del tracker
    gc.collect()
    assert len(consume_all(settings, Topic.CLICKSTREAM)) == 1


def run_script(settings: Settings, script: str) -> str:
    environment = os.environ | {
        "INNERLOOP_KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix,
        "INNERLOOP_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "INNERLOOP_KAFKA__PRODUCER_PROPERTIES__LINGER_MS": "60000",
    }
    command = [sys.executable, "-c", textwrap.dedent(script)]
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True, timeout=120
    ).stdout


def test_a_program_that_ends_sends_what_waits(settings, consume_all):
    run_script(
        settings,
        """
        from producer import Tracker
        tracker = Tracker()
        for n in range(50):
            tracker.view("u", f"i{n}")
        """,
    )
    assert len(consume_all(settings, Topic.CLICKSTREAM)) == 50


def test_a_forked_child_is_told_to_make_its_own(settings, consume_all):
    told = run_script(
        settings,
        """
        import os
        from producer import Tracker
        from schemas.errors import BrokerError
        tracker = Tracker()
        tracker.view("u", "i")
        if os.fork() == 0:
            try:
                tracker.view("u", "i")
            except BrokerError as error:
                print(error, flush=True)
        else:
            assert os.wait()[1] == 0
        """,
    )
    assert "make the tracker in the process that uses it" in told
    assert len(consume_all(settings, Topic.CLICKSTREAM)) == 1


def test_metrics_count_what_the_tracker_counts_and_name_nobody(settings):
    registry = CollectorRegistry()
    with Tracker(settings, registry=registry) as tracker:
        publish_one_of_each(tracker)
        tracker.view("u", "i", consent=False)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert value("innerloop_tracker_events_total", fate="delivered") == 8
    assert value("innerloop_tracker_events_total", fate="no_consent") == 1
    assert value("innerloop_tracker_events_total", fate="failed") == 0
    assert value("innerloop_tracker_delivered_events_total", type="search") == 1
    assert value("innerloop_tracker_delivery_seconds_count") == 8
    assert value("innerloop_tracker_waiting_events") == 0
    assert tracker.metrics.registry is registry
    for family in registry.collect():
        for sample in family.samples:
            assert set(sample.labels) <= {"fate", "type", "le"}
