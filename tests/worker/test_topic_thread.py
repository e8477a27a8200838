"""A compacted topic followed in a thread: what it holds is told, what is none is passed over."""

import threading

import msgspec
import pytest

from schemas.catalog import CatalogItem
from schemas.errors import BrokerError, RegistryError
from schemas.topics import Topic
from worker.kafka_admin import create_topics
from worker.topic_follower import TopicFollower
from worker.topic_thread import TopicThread

PATIENCE_S = 120.0


def record(item_id: str) -> tuple[bytes, bytes]:
    return item_id.encode(), msgspec.json.encode(CatalogItem(item_id=item_id, title=item_id))


@pytest.fixture
def settings(embedded_settings):
    create_topics(embedded_settings, [Topic.CATALOG])
    return embedded_settings


class Shelf:
    """The ids that are there by now."""

    def __init__(self):
        self.ids = set()
        self.later = threading.Event()

    def put(self, item: CatalogItem) -> None:
        self.ids.add(item.item_id)
        if item.item_id == "later":
            self.later.set()


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def thread(settings, shelf, produce_all):
    produce_all(
        settings,
        Topic.CATALOG,
        [
            record("kept"),
            record("removed"),
            (b"removed", None),
            (b"kept", b"no item"),
            (b"\xff", None),
            (None, None),
        ],
    )
    return TopicThread(
        settings,
        Topic.CATALOG,
        CatalogItem,
        put=shelf.put,
        remove=shelf.ids.discard,
        name="test",
        once_ended="nothing more is told",
        ask_again_s=0.01,
    )


def test_asks_a_registry_again_that_did_not_answer(thread, shelf, caplog, monkeypatch):
    decode, failures = thread._decode, ["down", "still down", "down again"]

    def answers_at_last(value: bytes) -> CatalogItem:
        if failures:
            raise RegistryError(failures.pop(0))
        return decode(value)

    monkeypatch.setattr(thread, "_decode", answers_at_last)
    thread.start()
    try:
        assert thread.wait(PATIENCE_S)
        assert shelf.ids == {"kept"}
    finally:
        thread.close()
    assert [record.getMessage() for record in caplog.records if "registry" in record.message] == [
        "nothing more is told until the schema registry answers: down"
    ]


def test_a_registry_that_never_answers_does_not_keep_it_from_its_end(thread, monkeypatch):
    asked = threading.Event()

    def never(value: bytes) -> CatalogItem:
        asked.set()
        raise RegistryError("down")

    monkeypatch.setattr(thread, "_decode", never)
    thread.start()
    assert asked.wait(PATIENCE_S)
    thread.close()
    assert not thread.wait(0)


def test_tells_what_the_topic_holds_and_goes_on(settings, thread, shelf, produce_all):
    thread.start()
    try:
        assert thread.wait(PATIENCE_S)
        assert shelf.ids == {"kept"}
        produce_all(settings, Topic.CATALOG, [record("later")])
        assert shelf.later.wait(PATIENCE_S)
        assert shelf.ids == {"kept", "later"}
    finally:
        thread.close()


def test_says_so_when_it_may_not_read_any_more(thread, shelf, monkeypatch, caplog):
    asked = threading.Event()

    def refused(*_):
        asked.set()
        raise BrokerError("catalog cannot be read")

    monkeypatch.setattr(TopicFollower, "read", refused)
    thread.start()
    assert asked.wait(PATIENCE_S)
    thread.close()
    assert "nothing more is told: catalog cannot be read" in caplog.text
    assert not thread.wait(0)
    assert not shelf.ids
