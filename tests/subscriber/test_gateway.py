"""The gateway: streams, the latest as JSON, who may read, and what is too much."""

from __future__ import annotations

import json
import socket
import threading

import httpx
import pytest
from answers import answer, publish, publish_titles
from gateways import PATIENCE_S, SECRET, Gateway, gateway, gateway_settings, wait_until

from schemas.errors import SettingsError
from schemas.pseudonyms import pseudonymiser
from schemas.settings import PrivacySettings, Settings
from worker.kafka_admin import create_topics
from worker.subscriber.gateway.metrics import GatewayMetrics
from worker.subscriber.gateway.server import make_server
from worker.subscriber.tokens import mint_token


@pytest.fixture
def settings(embedded_settings) -> Settings:
    create_topics(embedded_settings)
    return gateway_settings(embedded_settings)


@pytest.fixture
def running(settings):
    with gateway(settings) as started:
        yield started


def test_a_browser_gets_the_latest_and_then_each_new_one(broker_settings):
    create_topics(broker_settings)
    publish(broker_settings, answer("u", "e-0"), answer("u", "e-1", recommendation_id="r-1"))
    with gateway(gateway_settings(broker_settings)) as running:
        with running.stream("u") as stream:
            assert stream.block() == ["retry: 2000"]
            message = stream.message()
            assert (message["id"], message["event"]) == ("r-1", "recommendation")
            content = json.loads(message["data"])
            assert content["caused_by"] == "e-1"
            assert content["received_at"] >= content["event_time"]
            publish(broker_settings, answer("v", "e-9"), answer("u", "e-2"), answer("u", "e-3"))
            assert [stream.caused_by(), stream.caused_by()] == ["e-2", "e-3"]
            last = running.get(running.path("u")).json()["recommendation_id"]
            assert running.sample("open_streams") == 1
        wait_until(lambda: running.sample("open_streams") == 0, "the stream's end noticed")
        assert running.sample("stream_ends_total", why="client") == 1
        assert running.sample("event_to_message_seconds_count") == 2
        # One who comes again and has seen the latest gets the next one only.
        with running.stream("u", Last_Event_ID=last) as stream:
            publish(broker_settings, answer("u", "e-4"))
            assert stream.caused_by() == "e-4"
        with running.stream("u", Last_Event_ID="r-1") as stream:
            assert stream.caused_by() == "e-4"


def test_the_latest_as_json_with_a_tag(running):
    assert running.get(running.path("u")).status_code == 404
    publish(running.settings, answer("u", "e-1", recommendation_id="r 1"))
    found = running.get(running.path("u", since_event="e-1"))
    assert found.status_code == 200
    latest = running.get(running.path("u"))
    assert latest.json() == found.json()
    assert latest.headers["etag"] == '"r%201"'
    assert latest.headers["cache-control"] == "private, no-cache"
    for tag in ('"r%201"', 'W/"r%201"', '"other", "r%201"'):
        again = running.get(running.path("u"), If_None_Match=tag)
        assert (again.status_code, again.content) == (304, b"")
    assert running.get(running.path("u"), If_None_Match='"r"').status_code == 200


def test_a_request_can_wait_for_the_answer_to_an_event(running):
    got: list[httpx.Response] = []
    asking = threading.Thread(
        target=lambda: got.append(running.get(running.path("u", since_event="e-2")))
    )
    asking.start()
    wait_until(lambda: running.sample("open_streams") == 1, "a request that waits")
    publish(running.settings, answer("u", "e-1"))
    assert running.get(running.path("u", since_event="e-1")).status_code == 200
    assert not got
    publish(running.settings, answer("u", "e-2"))
    asking.join(PATIENCE_S)
    assert got[0].json()["caused_by"] == "e-2"
    nothing = running.get(running.path("u", since_event="never", wait_s=0.01))
    assert (nothing.status_code, nothing.content) == (204, b"")
    wrong = running.get(running.path("u", since_event="e", wait_s="soon"))
    assert wrong.status_code == 400
    assert "token" not in wrong.text
    assert running.sample("open_streams") == 0


@pytest.mark.parametrize("suffix", ["", "/events"])
def test_a_browser_reads_its_own_user_only(running: Gateway, suffix: str):
    publish(running.settings, answer("u", "e-1"))
    bare = f"/v1/recommendations/u{suffix}"
    over = mint_token(SECRET, "u", -1)
    for path, status, kind in (
        (bare, 401, "token"),
        (f"{bare}?token=none", 401, "token"),
        (f"{bare}?token={over}", 401, "token"),
        (f"{bare}?token={mint_token('x' * 32, 'u')}", 401, "token"),
        (running.path("u", suffix, token_of="v"), 403, "other-user"),
    ):
        refused = running.get(path)
        assert refused.status_code == status, path
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.json()["type"] == f"urn:innerloop:problem:{kind}"
        assert refused.headers["cache-control"] == "no-store"
    assert "bearer" in running.get(bare).headers["www-authenticate"].lower()
    running.get(running.path("u", since_event="e-1"))
    good = {"Authorization": f"Bearer {mint_token(SECRET, 'u')}"}
    with running.client.stream("GET", bare, headers=good) as allowed:
        assert allowed.status_code == 200


def test_a_stream_ends_when_its_token_is_over(running):
    path = f"/v1/recommendations/u/events?token={mint_token(SECRET, 'u', 3)}"
    with running.client.stream("GET", path) as response:
        assert response.read().decode().splitlines()[0] == "retry: 2000"
    assert running.sample("stream_ends_total", why="expired") == 1


def test_ids_are_the_users_own_where_they_are_pseudonyms(settings):
    privacy = PrivacySettings(user_id_key="a key of sixteen or more")
    hidden = settings.model_copy(update={"privacy": privacy})
    with gateway(hidden) as running, running.stream("real é") as stream:
        publish(settings, answer(pseudonymiser(privacy)("real é"), "e-1"))
        assert stream.caused_by() == "e-1"


def test_titles_and_the_erasure_of_a_user(settings):
    publish_titles(settings, {"p-1": "Rain boots", "p-9": "Umbrella"})
    with gateway(gateway_settings(settings, titles=True)) as running:
        publish(settings, answer("u", "e-1"))
        content = running.get(running.path("u", since_event="e-1")).json()
        assert [item.get("title") for item in content["items"]] == ["Rain boots", None]
        assert content["items"][0]["reason"]["title"] == "Umbrella"
        with running.stream("u") as stream:
            assert stream.caused_by() == "e-1"
            publish(settings, "u")
            assert stream.message() == {"event": "erased", "data": "{}"}
        assert running.get(running.path("u")).status_code == 404


def test_a_quiet_stream_carries_comments(settings):
    with (
        gateway(gateway_settings(settings, heartbeat_seconds=0.05, retry_ms=7)) as running,
        running.stream("u") as stream,
    ):
        assert [stream.block() for _ in range(3)] == [["retry: 7"], [":"], [":"]]


def test_streams_are_limited_by_address_and_in_all(settings):
    with (
        gateway(gateway_settings(settings, max_streams_per_address=2)) as running,
        running.stream("u"),
        running.stream("v"),
    ):
        refused = running.get(running.path("w", "/events"))
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert running.get(running.path("w", since_event="e")).status_code == 429
    with gateway(gateway_settings(settings, max_streams=1)) as running:
        with running.stream("u"):
            assert running.get(running.path("w", "/events")).status_code == 503
        wait_until(lambda: running.sample("open_streams") == 0, "the place given back")
        with running.stream("w"):
            pass


def test_a_client_that_does_not_read_is_cut_off_and_others_go_on(settings):
    long = [f"{n:0100d}" for n in range(2000)]
    with (
        gateway(gateway_settings(settings, max_waiting_messages=4)) as running,
        socket.create_connection(("127.0.0.1", running.port)) as slow,
        running.stream("u") as stream,
    ):
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(f"GET {running.path('u', '/events')} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        wait_until(lambda: running.sample("open_streams") == 2, "both streams")
        for n in range(200):
            publish(settings, answer("u", f"e-{n}", items=long))
            assert stream.caused_by() == f"e-{n}"
            if running.sample("stream_ends_total", why="slow"):
                break
        assert running.sample("stream_ends_total", why="slow") == 1
        wait_until(lambda: running.sample("open_streams") == 1, "its place given back")
        slow.settimeout(PATIENCE_S)
        with pytest.raises(ConnectionResetError):
            while slow.recv(1 << 20):
                pass
        publish(settings, answer("u", "e-last"))
        assert stream.caused_by() == "e-last"


def test_pages_of_other_origins_read_only_where_they_may(settings):
    allowed = "https://shop.example"
    with gateway(gateway_settings(settings, allowed_origins=(allowed,))) as running:
        for origin, told in ((allowed, allowed), ("https://evil.example", None)):
            with running.stream("u", Origin=origin):
                pass
            headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
            path = running.path("u")
            assert (
                running.get(path, Origin=origin).headers.get("access-control-allow-origin") == told
            )
            preflight = running.client.options(path, headers=headers)
            assert preflight.headers.get("access-control-allow-origin") == told


def test_without_secrets_it_does_not_start_and_open_is_for_loopback(embedded_settings):
    for changes, message in (
        ({"token_secrets": {}}, r"gateway\.token_secrets is empty"),
        ({"open": True, "host": "0.0.0.0"}, r"gateway\.host has to be a loopback"),
    ):
        with pytest.raises(SettingsError, match=message):
            make_server(gateway_settings(embedded_settings, **changes), GatewayMetrics())
    with pytest.raises(ValueError, match="32 characters"):
        gateway_settings(embedded_settings, token_secrets={"web": "short"})


def test_open_lets_whoever_asks_read(settings):
    publish(settings, answer("u", "e-1"))
    with gateway(gateway_settings(settings, open=True, token_secrets={})) as running:
        assert running.get("/v1/recommendations/u?since_event=e-1").status_code == 200


def test_what_there_is_not_is_a_problem_and_the_document_says_what_there_is(running):
    for path, status in (("/", 404), ("/metrics", 404), ("/v1/recommendations/", 404)):
        assert running.get(path).status_code == status
        assert running.get(path).json()["type"] == "urn:innerloop:problem:not-found"
    assert running.client.post(running.path("u")).json()["type"].endswith(":method")
    document = running.get("/v1/openapi.json").json()
    latest = document["paths"]["/v1/recommendations/{user_id}"]["get"]
    assert {each["name"] for each in latest["parameters"]} == {"user_id", "since_event", "wait_s"}
    assert set(latest["responses"]) == {
        "200",
        "204",
        "304",
        *map(str, (400, 401, 403, 404, 429, 503)),
    }
    schemas = document["components"]["schemas"]
    refs = {part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]}
    assert refs <= set(schemas)
    assert "title" in schemas["RecommendedItem"]["properties"]
