"""Who may send: write keys, origins, limits; and nothing else gets in."""

from __future__ import annotations

import base64
import json

import pytest
from collecting import KEY, OTHER_KEY
from pydantic import ValidationError

from producer.collector.access import Limits, Origins, WriteKeys
from producer.collector.app import build_app
from schemas.errors import SettingsError
from schemas.settings import CollectorSettings, Settings

VIEW = {"type": "view", "user_id": "u", "item_id": "i"}
BASIC = base64.b64encode(f"{KEY}:".encode()).decode()


def send(collector, body=None, query="", **headers):
    content = json.dumps(VIEW if body is None else body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return collector.client.post(f"/v1/events{query}", content=content, headers=named)


@pytest.mark.parametrize(
    "given",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer {OTHER_KEY}"},
        {"authorization": f"Basic {BASIC}"},
        {"x_write_key": KEY},
        {"query": f"?write_key={KEY}"},
        {"query": f"?measurement_id=G-1&api_secret={KEY}"},
        {"body": {"write_key": KEY, "events": [VIEW]}},
        {"body": {"writeKey": KEY, **VIEW}},
    ],
)
def test_a_write_key_may_come_in_many_ways(collector, given):
    assert send(collector, **given).status_code == 202
    assert len(collector.messages()) == 1


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"authorization": "Bearer "},
        {"authorization": f"Bearer {KEY}x"},
        {"authorization": f"Bearer {KEY[:-1]}"},
        {"authorization": "Basic ???"},
        {"authorization": f"Digest {KEY}"},
        {"authorization": "Bearer \xe9".encode("latin-1")},
        {"x_write_key": KEY.upper()},
        {"query": "?write_key="},
        {"query": f"?key={KEY}"},
        {"body": {"write_key": [KEY], "events": [VIEW]}},
        {"body": {"write_key": KEY + " ", "events": [VIEW]}},
        {"body": [{**VIEW, "write_key": KEY}]},
        # A wrong key is not made up for by a right one elsewhere.
        {"x_write_key": "wrong", "body": {"write_key": KEY, "events": [VIEW]}},
    ],
)
def test_without_a_write_key_nothing_gets_in(collector, given):
    response = send(collector, **given)
    assert response.status_code == 401
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert response.json()["type"] == "urn:innerloop:problem:write-key"
    assert collector.messages() == []


def test_an_application_without_keys_does_not_start():
    with pytest.raises(SettingsError, match=r"collector\.write_keys is empty"):
        build_app(Settings())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"web": "short"}, "16 printable ASCII"),
        ({"web": "0123456789abcdé…"}, "16 printable ASCII"),
        ({"Web Shop": KEY}, "lower-case"),
        ({"a": KEY, "b": KEY}, "a different key for each"),
    ],
)
def test_keys_that_are_weak_or_nameless_are_refused_and_not_shown(keys, message):
    with pytest.raises(ValidationError, match=message):
        CollectorSettings(write_keys=keys)
    assert KEY not in repr(CollectorSettings(write_keys={"web": KEY}))


def test_keys_are_told_apart():
    keys = WriteKeys(CollectorSettings(write_keys={"web": KEY, "app": OTHER_KEY}))
    assert (keys.name_of(KEY), keys.name_of(OTHER_KEY), keys.name_of("")) == ("web", "app", None)


def test_pages_of_other_origins_may_not_send(start):
    collector = start(allowed_origins=["https://shop.example", "http://localhost:3000"])
    key = {"x_write_key": KEY}
    for origin in ("https://shop.example", "http://localhost:3000", "http://collector.local"):
        response = send(collector, origin=origin, **key)
        assert response.status_code == 202, origin
    for origin in (
        "https://evil.example",
        "https://shop.example.evil",
        "null",
        "http://collector.local.evil",
    ):
        response = send(collector, origin=origin, **key)
        assert response.status_code == 403, origin
        assert "access-control-allow-origin" not in response.headers
    assert len(collector.messages()) == 3


def test_cross_origin_requests_are_announced(start):
    collector = start(allowed_origins=["https://shop.example"])

    def ask(origin: str):
        return collector.client.options(
            "/v1/events",
            headers={
                "origin": origin,
                "access-control-request-method": "POST",
                "access-control-request-headers": "content-type,x-write-key",
            },
        )

    allowed = ask("https://shop.example")
    assert allowed.status_code == 204
    assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
    assert "x-write-key" in allowed.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-credentials" not in allowed.headers
    refused = ask("https://evil.example")
    assert refused.status_code == 400
    assert "access-control-allow-origin" not in refused.headers
    # Errors can be read by the page that caused them, too.
    wrong = send(collector, body={}, origin="https://shop.example", x_write_key=KEY)
    assert wrong.status_code == 400
    assert wrong.headers["access-control-allow-origin"] == "https://shop.example"


def test_all_origins_may_be_allowed():
    origins = Origins(CollectorSettings(allowed_origins=["*"]))
    assert origins.may_send("https://anything.example", "c")
    for wrong in ("https://shop.example/", "shop.example", "https://*.example"):
        with pytest.raises(ValidationError, match="origins"):
            CollectorSettings(allowed_origins=[wrong])


def test_an_address_that_asks_too_often_has_to_wait(start):
    collector = start(requests_per_second=1)
    statuses = [send(collector).status_code for _ in range(6)]
    assert statuses[:2] == [401, 401]  # those without a key count, too
    response = send(collector)
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) >= 1
    assert response.json()["type"] == "urn:innerloop:problem:rate-limit"


def test_a_key_that_sends_too_many_events_has_to_wait(start):
    collector = start(events_per_second=1, max_batch_events=10)
    assert send(collector, body=[VIEW] * 10, x_write_key=KEY).status_code == 202
    response = send(collector, body=[VIEW] * 10, x_write_key=KEY)
    assert response.status_code == 429
    assert int(response.headers["retry-after"]) > 1
    assert send(collector, body=[VIEW] * 10, x_write_key=OTHER_KEY).status_code == 202
    assert len(collector.messages()) == 20


def test_limits_know_a_bounded_number_of_addresses():
    limits = Limits(CollectorSettings(requests_per_second=1, known_addresses=16))
    for n in range(1000):
        assert limits.request(f"10.0.{n >> 8}.{n & 255}") == 0
    backend = limits._requests._store._backend
    assert len(backend._client) == len(backend.expire_info) == 16


def test_an_ipv6_network_is_one_address():
    limits = Limits(CollectorSettings(requests_per_second=1))
    waits = [limits.request(f"2001:db8:0:1::{n:x}") for n in range(4)]
    assert waits[:2] == [0, 0] and min(waits[2:]) > 0
    assert limits.request("2001:db8:0:2::1") == 0
    assert limits.request("unknown") == 0
