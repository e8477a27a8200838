"""`innerloop topics acls`: the list as commands, as data, and as Strimzi's resources."""

from __future__ import annotations

import json
import shlex

import pytest
import yaml
from typer.testing import CliRunner

from schemas.access import Identity, grants
from schemas.errors import SettingsError
from schemas.settings import Settings
from worker.cli.app import app


def shown(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["topics", "acls", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_commands_name_operations_resource_and_principal():
    lines = [shlex.split(line) for line in shown().splitlines() if not line.startswith("#")]
    assert len(lines) == sum(len(grants(Settings(), identity)) for identity in Identity)
    assert all(
        line[:3] == ["kafka-acls.sh", "--bootstrap-server", "127.0.0.1:9092"] for line in lines
    )
    only = [shlex.split(line) for line in shown("--identity", "tracker").splitlines()[1:]]
    assert only == [
        [
            *("kafka-acls.sh", "--bootstrap-server", "127.0.0.1:9092"),
            *("--command-config", "admin.properties", "--add"),
            *("--allow-principal", "User:innerloop-tracker", "--operation", "Write"),
            *("--topic", "clickstream"),
        ]
    ]


def test_transactions_are_by_prefix(monkeypatch):
    monkeypatch.setenv("INNERLOOP_WORKER__DELIVERY", "exactly_once")
    said = shown("--identity", "worker")
    assert "--transactional-id innerloop-worker- --resource-pattern-type prefixed" in said


def test_json_says_why():
    (sink,) = json.loads(shown("--identity", "sink", "--format", "json", "--principal", "User:x"))
    assert sink["principal"] == "User:x"
    assert sink["grants"][0]["operations"] == ["Read"]
    assert all(grant["why"] for grant in sink["grants"])


def test_strimzi_has_a_user_for_each_identity():
    users = list(yaml.safe_load_all(shown("--format", "strimzi")))
    assert [user["metadata"]["name"] for user in users] == [f"innerloop-{i}" for i in Identity]
    assert {user["spec"]["authorization"]["type"] for user in users} == {"simple"}


def test_a_principal_is_for_one():
    with pytest.raises(SettingsError, match="just one"):
        shown("--principal", "User:x")
