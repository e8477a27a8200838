"""The browser snippet, run by Node on what it uses of a page; once against a real collector."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from collecting import KEY
from test_collector_server import running

import producer.collector
from schemas.clickstream import ClickstreamEvent
from schemas.codec import build_codec
from schemas.topics import Topic
from worker.kafka_admin import create_topics

SNIPPET = Path(producer.collector.__file__).with_name("snippet.js")
PAGE = Path(__file__).with_name("snippet_page.mjs")


def run(scenario: str, *arguments: str) -> dict[str, Any]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed")
    command = [node, str(PAGE), str(SNIPPET), scenario, *arguments]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    told: dict[str, Any] = json.loads(result.stdout)
    return told


def test_it_is_two_kilobytes_as_it_is_served():
    assert SNIPPET.stat().st_size <= 2048
    assert SNIPPET.read_bytes().isascii()


def test_events_are_sent_together_by_one_user():
    told = run("browse")
    assert told["waits"] == [0, 200]
    (request,) = told["sent"]
    assert request["url"] == "https://collect.example/v1/events"
    assert (request["method"], request["keepalive"]) == ("POST", True)
    assert "headers" not in request  # so no other origin has to be asked first
    body = json.loads(request["body"])
    assert body["write_key"] == "KEY" and body["sent_at"] >= body["events"][0]["time"]
    view, search, click = told["events"]
    assert [view["event_id"], search["event_id"]] == told["ids"]
    assert (view["type"], view["item_id"], view["surface"]) == ("view", "p-42", "home")
    assert (search["type"], search["query"]) == ("search", "rain boots")
    assert len(view["user_id"]) >= 32
    assert {view["user_id"], search["user_id"], click["user_id"]} == {view["user_id"]}


def test_what_waits_goes_out_as_the_page_is_left():
    told = run("leave")
    *beacons, refused, fetched = told["sent"]
    assert [len(json.loads(beacon["body"])["events"]) for beacon in beacons] == [20, 20, 5]
    assert {beacon["by"] for beacon in [*beacons, refused]} == {"beacon"}
    assert (fetched["by"], fetched["keepalive"]) == ("fetch", True)
    items = [event["item_id"] for event in told["events"]]
    assert items == [*(f"p-{n}" for n in range(45)), "last", "last"]
    assert len({event["event_id"] for event in told["events"]}) == 46


def test_without_consent_nothing_is_sent_or_kept():
    told = run("refuse")
    assert "before" not in told
    assert told["sent"] == []
    # The answer is all that is kept; afterwards the visitor is somebody else.
    (event,) = told["events"]
    assert event["item_id"] == "p-5"
    assert event["user_id"] not in (told["user"], "", None)
    assert told["stored"].keys() == {"innerloop.consent", "innerloop.user"}


def test_what_the_collector_could_not_take_is_sent_again_and_what_is_wrong_is_not():
    told = run("fail")
    assert told["waits"] == [200, 5000, 5000, 5000, 200]
    *tries, wrong = told["events"]
    assert [event["event_id"] for event in tries] == [told["id"]] * 4
    assert wrong["item_id"] == ""
    assert told["left"] == 0


def test_it_works_without_storage_and_with_an_address_and_a_user_of_ones_own():
    told = run("forbid")
    (request,) = told["sent"]
    assert request["url"] == "https://other.example/v1/events"
    users = [event["user_id"] for event in told["events"]]
    assert users[0] == users[1] != users[2] == "u-7"
    assert told["events"][2]["time"] == 5


def test_a_real_collector_takes_what_it_sends(embedded_settings, consume_all):
    create_topics(embedded_settings)
    with running(embedded_settings) as (_, address, _):
        told = run("browse", address, KEY)
    decode = build_codec(embedded_settings.wire).decoder(ClickstreamEvent)
    messages = consume_all(embedded_settings, Topic.CLICKSTREAM)
    events = [decode(message.value()) for message in messages]
    assert [event.event_id for event in events][:2] == told["ids"]
    assert len(events) == 3
    assert {event.user_id for event in events} == {told["events"][0]["user_id"]}
