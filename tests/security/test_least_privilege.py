"""Everything works under the entries that `innerloop topics acls` gives, and with no fewer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from answers import answer, publish
from recording_learner import recording
from redis_servers import RedisServer
from running_worker import running, wait_until, with_worker
from secured_shop import PATIENCE_S, SecuredShop

from producer import PrivacyRequests, Tracker
from producer.publisher import Publisher
from schemas.access import Identity
from schemas.catalog import CatalogItem
from schemas.settings import Settings
from schemas.topics import Topic
from worker.dead_letters.inspection import inspect
from worker.dead_letters.records import Selection
from worker.dead_letters.replay import replay
from worker.insights.report import make_report
from worker.kafka_admin import consumer_lag, inspect_topics
from worker.privacy.inquiry import AuditTrail, held_about
from worker.rollout.plan_log import PlanLog
from worker.subscriber import RecommendationClient
from worker.subscriber.redis_sink.metrics import SinkMetrics
from worker.subscriber.redis_sink.service import RedisSink
from worker.subscriber.titles import Titles
from worker.topic_history import read_history

ITEMS = 12


def publish_items(settings: Settings) -> None:
    publisher = Publisher(settings)
    publisher.check(Topic.CATALOG, Topic.CLICKSTREAM)
    for number in range(ITEMS):
        item = CatalogItem(item_id=f"i{number}", title=f"thing number {number}")
        publisher.send(Topic.CATALOG, item.item_id, item)
    assert publisher.flush(PATIENCE_S) == 0


def worker_settings(settings: Settings, folder: Path, delivery: str) -> Settings:
    return with_worker(settings, delivery=delivery, state_folder=folder, warm_restart=True)


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("delivery", "how"), [("at_least_once", "by_password"), ("exactly_once", "by_certificate")]
)
def test_from_a_click_to_its_answer(shop: SecuredShop, tmp_path, delivery, how):
    publish_items(shop.by_password(Identity.LOADER))
    settings = worker_settings(getattr(shop, how)(Identity.WORKER), tmp_path, delivery)
    with (
        RecommendationClient(shop.by_certificate(Identity.SUBSCRIBER)) as client,
        Tracker(shop.by_token(Identity.TRACKER)) as tracker,
        running(settings, item_memory=recording()) as worker,
    ):
        tracker.check()
        for number in range(3):
            receipt = tracker.view(f"u-{delivery}", f"i{number}")
            receipt.wait(PATIENCE_S)
            found = client.wait_for(f"u-{delivery}", receipt.event_id, PATIENCE_S)
            assert found.recommendation.items
        assert worker.sample("innerloop_worker_dead_letters_total") == 0
    # Started again it finds its users on disk, which takes the topic's configuration.
    with running(settings, item_memory=recording()):
        pass


@pytest.mark.kafka
def test_answers_are_copied_into_redis(shop: SecuredShop):
    with TemporaryDirectory() as folder, ThreadPoolExecutor(1) as other:  # a socket's path is short
        server = RedisServer(Path(folder))
        server.start()
        settings = shop.by_token(Identity.SINK, sink={"redis_url": server.url})
        sink = RedisSink(settings, SinkMetrics())
        run = other.submit(sink.run)
        try:
            publish(shop.by_password(Identity.WORKER), answer("u-copied", "e-1"))
            wait_until(lambda: run.done() or server.client.dbsize() > 0, "a copy", PATIENCE_S)
        finally:
            sink.stop()
            run.result(PATIENCE_S)
            found = server.client.dbsize()
            server.stop()
        assert found > 0


@pytest.mark.kafka
def test_what_operators_do(shop: SecuredShop):
    admin = shop.by_password(Identity.ADMIN)
    assert not any(state.differences for state in inspect_topics(admin))
    assert consumer_lag(admin, admin.worker.group_id)
    log = PlanLog(shop.by_token(Identity.ROLLOUT))
    log.read_to_end()
    assert log.latest is None
    log.close()
    operator = shop.by_password(Identity.OPERATOR)
    inspect(operator, Selection(), 1)
    replay(operator, Selection())
    with PrivacyRequests(shop.by_certificate(Identity.PRIVACY)) as requests:
        assert requests.grant_consent("u-1")
    assert AuditTrail(shop.by_token(Identity.PRIVACY)).of("no request") == []
    found = held_about(shop.by_certificate(Identity.EXPORT), "nobody")
    assert not any(found["topics"].values())
    titles = Titles(shop.by_password(Identity.SUBSCRIBER))
    assert titles.wait(PATIENCE_S)
    titles.close()


@pytest.mark.kafka
def test_what_analysts_read(shop: SecuredShop):
    publish_items(shop.by_password(Identity.LOADER))
    with Tracker(shop.by_password(Identity.TRACKER)) as tracker:
        tracker.view("u-history", "i1").wait(PATIENCE_S)
    analyst = shop.by_token(Identity.ANALYST)
    history = read_history(analyst)
    assert len(history.items) == ITEMS and len(history.log) > 0
    make_report(analyst, again=True)
