"""The storefront's own server: what it serves, whom it lets in, and whom it believes."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

import msgspec
import pytest
from litestar.testing import TestClient

from schemas.catalog import CatalogItem
from schemas.errors import BrokerError, SettingsError
from schemas.recommendations import Adaptation, Reason, ReasonKind, Recommendation, RecommendedItem
from schemas.settings import GatewaySettings, Settings
from schemas.topics import Topic
from worker.demo.storefront import start_shelf
from worker.demo.storefront.app import PAGE, Addresses, Shop, build_app, page
from worker.demo.storefront.goods import Goods
from worker.demo.storefront.guests import PREFIX, Guests
from worker.demo.storefront.server import addresses_of
from worker.demo.storefront.start_shelf import StartShelf
from worker.kafka_admin import create_topics
from worker.subscriber.async_client import AsyncRecommendationClient
from worker.subscriber.tokens import mint_token

SECRET = "a secret of thirty-two characters"
ADDRESSES = Addresses("http://127.0.0.1:1", "http://127.0.0.1:2", "a-write-key-of-16")


@dataclass
class Running:
    """A storefront whose worker is the test."""

    client: TestClient
    settings: Settings
    produce: object
    erased: list[str] = field(default_factory=list)
    answers: bool = True
    broken: bool = False

    def show(self, user_id: str, item_id: str) -> str:
        if self.answers:
            said = [recommendation(user_id, "e-1", item_id)]
            records = [(each.user_id, msgspec.json.encode(each)) for each in said]
            sending = (self.settings, Topic.RECOMMENDATIONS, records)
            threading.Thread(target=self.produce, args=sending).start()
        return "e-1"

    def erase(self, user_id: str) -> str:
        if self.broken:
            raise BrokerError("no broker has it")
        self.erased.append(user_id)
        return "request-1"

    def post(self, path: str, token: str | None = None):
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self.client.post(path, headers=headers)


def recommendation(user_id: str, event_id: str, item_id: str) -> Recommendation:
    return Recommendation(
        recommendation_id="r-1",
        user_id=user_id,
        items=[RecommendedItem(item_id=item_id, score=1.0, reason=Reason(kind=ReasonKind.START))],
        events_seen=1,
        caused_by=event_id,
        adaptation=Adaptation(steps=0),
        model_version="m",
        variant="default",
        event_time=1,
        produced_at=2,
    )


@pytest.fixture
def storefront(embedded_settings: Settings, produce_all) -> Iterator[Running]:
    gateway = GatewaySettings(token_secrets={"web": SECRET})
    settings = embedded_settings.model_copy(update={"gateway": gateway})
    create_topics(settings)
    items = [
        CatalogItem(item_id="tea", title="Green tea", categories=("Drinks", "Tea"), price=2.5),
        CatalogItem(item_id="gone", title="Sold out", available=False),
        CatalogItem(item_id="cup"),
    ]
    produce_all(
        settings, Topic.CATALOG, [(item.item_id, msgspec.json.encode(item)) for item in items]
    )
    client = AsyncRecommendationClient(settings)
    running = Running(None, settings, produce_all)
    with Goods(settings) as goods:
        start = StartShelf(client, running.show, goods.any)
        shop = Shop(ADDRESSES, Guests(settings.gateway), goods, start, running.erase)
        with TestClient(build_app(shop, client)) as running.client:
            yield running


def test_the_goods_are_what_the_catalogue_has(storefront: Running) -> None:
    goods = {item["id"]: item for item in storefront.client.get("/api/goods").json()}
    assert goods == {
        "tea": {"id": "tea", "title": "Green tea", "categories": ["Drinks", "Tea"], "price": 2.5},
        "cup": {"id": "cup", "title": "cup", "categories": [], "price": None},
    }


def test_a_visitor_is_somebody_new_unless_a_token_says_otherwise(storefront: Running) -> None:
    first, second = (storefront.post("/api/visitor").json() for _ in range(2))
    assert first["user_id"] != second["user_id"]
    assert first["user_id"].startswith(PREFIX)
    again = storefront.post("/api/visitor", first["token"]).json()
    assert again["user_id"] == first["user_id"]
    forged = mint_token("another secret of 32 characters or more", first["user_id"])
    assert storefront.post("/api/visitor", forged).json()["user_id"] != first["user_id"]


def test_only_the_bearer_of_a_token_erases_and_only_that_user(storefront: Running) -> None:
    visitor = storefront.post("/api/visitor").json()
    over = mint_token(SECRET, visitor["user_id"], expires_in=-1)
    for token in (None, "nonsense", over):
        assert storefront.post("/api/erase", token).status_code == 401
    assert storefront.erased == []
    done = storefront.post("/api/erase", visitor["token"])
    assert (done.status_code, done.json()) == (202, {"request_id": "request-1"})
    assert storefront.erased == [visitor["user_id"]]


def test_an_erasure_that_no_broker_has_is_not_reported_as_done(storefront: Running) -> None:
    storefront.broken = True
    visitor = storefront.post("/api/visitor").json()
    refused = storefront.post("/api/erase", visitor["token"])
    assert (refused.status_code, refused.json()["detail"]) == (503, "no broker has it")


def test_the_start_list_is_the_workers_answer_about_nobody(storefront: Running) -> None:
    answer = storefront.client.get("/api/start")
    assert answer.status_code == 200
    said = json.loads(answer.content)
    assert said["caused_by"] == "e-1" and said["user_id"].startswith(f"{PREFIX}nobody-")
    assert storefront.client.get("/api/start").content == answer.content  # not asked each time


def test_without_a_worker_there_is_no_start_list(
    storefront: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(start_shelf, "_PATIENCE_S", 0.01)
    storefront.answers = False
    refused = storefront.client.get("/api/start")
    assert refused.status_code == 503
    assert "the worker does not answer" in refused.json()["detail"]


def test_the_page_may_talk_to_collector_and_gateway_alone(storefront: Running) -> None:
    served = storefront.client.get("/")
    policy = served.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert f"connect-src 'self' {ADDRESSES.collector} {ADDRESSES.gateway};" in policy
    assert f"script-src 'self' {ADDRESSES.collector};" in policy
    assert "unsafe" not in policy
    assert served.headers["x-content-type-options"] == "nosniff"


class Links(HTMLParser):
    """Where a page's parts come from."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href") and value and tag != "a":
                self.found.add(value)


def test_every_part_of_the_page_is_served(storefront: Running) -> None:
    links = Links(storefront.client.get("/").text).found
    assert links == {
        "data:,",
        "/page/style.css",
        "/page/shop.js",
        f"{ADDRESSES.collector}/v1/snippet.js",
    }
    scripts = [path.name for path in PAGE.glob("*.js")]
    imported = {name for script in PAGE.glob("*.js") for name in imports(script.read_text())}
    assert imported | {"/page/shop.js"} == {f"/page/{name}" for name in scripts}
    for path in ["/page/style.css", *(f"/page/{name}" for name in scripts)]:
        assert storefront.client.get(path).status_code == 200


def imports(script: str) -> list[str]:
    return re.findall(r"from '([^']+)'", script)


def test_addresses_cannot_break_out_of_the_page() -> None:
    evil = Addresses('http://x"><script>', "http://y", "k'\"<")
    assert "<script>alert" not in page(evil)
    assert 'http://x"' not in page(evil)
    assert "k&#x27;&quot;&lt;" in page(evil)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(SettingsError, match=r"gateway\.token_secrets"):
        Guests(Settings().gateway)
    with pytest.raises(SettingsError, match=r"collector\.write_keys"):
        addresses_of(Settings(), "http://h:1", "http://h:2")
    with pytest.raises(SettingsError, match="--gateway: ftp://h is no origin"):
        addresses_of(Settings(), "http://h:1", "ftp://h")
    settings = Settings.model_validate({"collector": {"write_keys": {"web": "w" * 16}}})
    assert addresses_of(settings, "http://h:1/", "https://h:2") == Addresses(
        "http://h:1", "https://h:2", "w" * 16
    )
