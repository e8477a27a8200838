"""`innerloop privacy`, with a worker at work."""

import json

import pytest
from privacy_parts import Shop
from running_worker import drain, running, with_worker
from typer.testing import CliRunner

from schemas.dead_letter import DeadLetterHeader
from schemas.pseudonyms import all_pseudonyms
from schemas.settings import Settings
from schemas.topics import Topic
from worker.cli.app import app

KEY = "a key to hash user ids with"


@pytest.fixture
def shop(embedded_settings, produce_all, consume_all, tmp_path, monkeypatch) -> Shop:
    settings = with_worker(embedded_settings)
    file = tmp_path / "innerloop.toml"
    kafka = settings.kafka
    file.write_text(
        f'[kafka]\nbootstrap_servers = "{kafka.bootstrap_servers}"\n'
        f'topic_prefix = "{kafka.topic_prefix}"\n[privacy]\nuser_id_key = "{KEY}"\n'
    )
    monkeypatch.setenv("INNERLOOP_CONFIG", str(file))
    data = settings.model_dump() | {"privacy": {"user_id_key": KEY}}
    return Shop(Settings.model_validate(data), produce_all, consume_all)


def call(*arguments: str, code: int = 0):
    result = CliRunner().invoke(app, ["privacy", *arguments])
    assert result.exit_code == code, result.output
    return result


def test_a_user_is_shown_what_is_held_and_then_erased(shop, tmp_path):
    [person] = all_pseudonyms(shop.settings.privacy, "maria")
    out = tmp_path / "maria.json"
    with running(shop.settings):
        shop.visited([person, "somebody else"], 3)
        shop.produce_all(shop.settings, Topic.CLICKSTREAM, [(person, b"{broken")])
        drain(shop.settings)
        call("export", "--user", "maria", "--out", str(out))
        erased = call("erase", "--user", "maria")
        again = json.loads(call("export", "--user", "maria").stdout)
    found = json.loads(out.read_text())
    topics = found["topics"]

    assert (found["user_id"], found["ids"]) == ("maria", [person])
    assert [e["value"]["item_id"] for e in topics["clickstream"][:3]] == ["i0", "i1", "i2"]
    assert len(topics["recommendations"]) == 3
    assert topics["recommendations"][0]["value"]["user_id"] == person
    [state] = topics["user-state"]
    assert state["value"]["events_seen"] == 3
    assert state["value"]["recent"]["items"] == ["i0", "i1", "i2"]
    [letter] = topics["clickstream.dlq"]
    assert letter["value"] == "{broken"
    assert DeadLetterHeader.REASON.value in letter["headers"]
    assert "somebody else" not in out.read_text()
    assert out.stat().st_mode & 0o077 == 0
    assert "states removed: 1, null values published: 2" in erased.stdout
    assert again["topics"]["user-state"] == []
    assert again["topics"]["recommendations"][-1]["value"] is None
    [request] = again["topics"]["privacy"]
    status = call("status", request["value"]["request_id"])
    assert "erase: done at" in status.stdout
    assert person not in status.stdout


def test_consent_is_withdrawn_and_granted(shop):
    with running(shop.settings) as worker:
        assert "withdraw_consent: done" in call("withdraw", "--user", "maria").stdout
        [person] = all_pseudonyms(shop.settings.privacy, "maria")
        shop.visited([person])
        drain(shop.settings)
        assert worker.sample("innerloop_records_total", outcome="no_consent") == 1
        assert "grant_consent: done" in call("grant", "--user", "maria").stdout
        shop.visited([person])
        drain(shop.settings)
    assert shop.seen() == {person: 1}


def test_what_no_worker_did_is_said(shop):
    waited = call("erase", "--user", "maria", "--timeout", "0.5", code=1)
    assert "1 of 1 records are not there after 0.5 s" in waited.stderr
    made = call("erase", "--user", "maria", "--no-wait").stdout
    request_id = made.split()[1]
    assert "no audit record of request" in call("status", request_id, code=1).stderr


def test_an_export_overwrites_nothing(shop, tmp_path):
    out = tmp_path / "there.json"
    out.write_text("precious")
    assert "exists" in str(call("export", "--user", "u", "--out", str(out), code=1).exception)
    assert out.read_text() == "precious"
