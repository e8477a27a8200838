"""`innerloop tail` as a process: what it shows, what it leaves out, how it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
from answers import answer, publish, publish_titles

from schemas.pseudonyms import pseudonymiser
from schemas.recommendations import Recommendation
from schemas.settings import PrivacySettings, Settings
from worker.kafka_admin import create_topics

KEY = "a key of sixteen or more"


@pytest.fixture
def settings(embedded_settings) -> Settings:
    create_topics(embedded_settings)
    publish_titles(embedded_settings, {"p-1": "Rain boots", "p-2": "Gone", "p-9": "Umbrella"})
    publish_titles(embedded_settings, {"p-2": None})
    publish(
        embedded_settings,
        answer("u", "e-1"),
        answer("[bold]v", "e-2", variant="B", items=[f"p-{n}" for n in range(20)]),
        answer(pseudonymiser(PrivacySettings(user_id_key=KEY))("real"), "e-3"),
    )
    return embedded_settings


@contextmanager
def tailing(settings: Settings, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {
        "INNERLOOP_KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix,
        "COLUMNS": "100",
    }
    command = [
        *(sys.executable, "-c", "from worker.cli import main; main()", "tail", "--since", "5"),
        *("--bootstrap-servers", settings.kafka.bootstrap_servers, *arguments),
    ]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def shown(settings: Settings, *arguments: str) -> str:
    with tailing(settings, *arguments) as process:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        return out


def test_a_line_for_each_with_the_best_items_and_the_latency(settings):
    lines = shown(settings, "-n", "3", "--items", "2").splitlines()
    assert len(lines) == 3
    pattern = r"\d\d:\d\d:\d\d\.\d{3} u 1 event default \d+ (ms|s)  p-1 · p-2"
    assert any(re.fullmatch(pattern, line) for line in lines), lines
    # What a user is called is no markup.
    (other,) = [line for line in lines if "[bold]v" in line]
    assert other.endswith("p-0 · p-1 +18")


def test_only_of_some_users_and_variants(settings):
    assert " u 1 event " in shown(settings, "-n", "1", "--user", "u")
    assert "[bold]v" in shown(settings, "-n", "1", "--variant", "B")


def test_a_table_with_reasons_and_titles(settings):
    told = shown(settings, "-n", "1", "--user", "u", "--table", "--titles")
    assert re.search(r"1 +Rain boots \(p-1\) +2\.000 +Umbrella \(p-9\)", told), told
    assert re.search(r"2 +p-2 +1\.000", told), told


def test_json_is_the_message_and_a_user_is_named_by_the_real_id(settings, monkeypatch):
    monkeypatch.setenv("INNERLOOP_PRIVACY__USER_ID_KEY", KEY)
    (line,) = shown(settings, "-n", "1", "--user", "real", "--json").splitlines()
    assert msgspec.json.decode(line, type=Recommendation).caused_by == "e-3"


def test_it_ends_in_silence_on_ctrl_c_and_where_nobody_reads_any_more(settings):
    with tailing(settings, "--json") as process:
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "")
    with tailing(settings, "--json") as process:
        assert process.stdout.readline()
        process.stdout.close()
        publish(settings, *(answer("u", f"more-{n}") for n in range(50)))
        assert process.wait(timeout=120) == 0
        assert process.stderr.read() == ""
