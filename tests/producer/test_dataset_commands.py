"""`innerloop replay` and `innerloop dataset` as a person runs them."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from producer.datasets import EventFile, open_items
from schemas.catalog import item_text
from schemas.settings import Settings
from schemas.topics import Topic
from worker.data import load_events, load_items
from worker.kafka_admin import create_topics

SHARED_DATA = Path(__file__).parents[3] / "shared" / "data"
REES46 = """\
event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session
2019-10-01 00:00:05 UTC,view,1,20,,shiseido,35.79,u1,s1
2019-10-01 00:00:01 UTC,cart,2,20,furniture.living_room,aqua,33.20,u2,s2
2019-10-01 00:00:02 UTC,view,2,20,furniture.living_room,aqua,33.20,,s2
"""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from worker.cli import main; main()", *arguments]


def run(
    *arguments: str, settings: Settings | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        env=environment_of(settings) | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def environment_of(settings: Settings | None) -> dict[str, str]:
    if settings is None:
        return dict(os.environ)
    return os.environ | {
        "INNERLOOP_KAFKA__BOOTSTRAP_SERVERS": settings.kafka.bootstrap_servers,
        "INNERLOOP_KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix,
    }


@pytest.fixture
def rees46(tmp_path: Path) -> Path:
    path = tmp_path / "2019-Oct.csv"
    path.write_text(REES46)
    return path


def test_replay_says_what_it_did(embedded_settings: Settings, rees46: Path, consume_all) -> None:
    create_topics(embedded_settings)
    done = run("replay", "--events", str(rees46), settings=embedded_settings)
    assert done.returncode == 0, done.stderr
    assert "2 items and 2 events sent" in done.stdout
    assert "Skipped 1 rows: no user_id." in done.stdout
    assert len(consume_all(embedded_settings, Topic.CLICKSTREAM)) == 2
    assert len(consume_all(embedded_settings, Topic.CATALOG)) == 2


def test_replay_hashes_user_ids_if_the_settings_say_so(
    embedded_settings: Settings, rees46: Path, consume_all
) -> None:
    create_topics(embedded_settings)
    key = {"INNERLOOP_PRIVACY__USER_ID_KEY": "a long and secret key"}
    done = run("replay", "--events", str(rees46), settings=embedded_settings, **key)
    assert done.returncode == 0, done.stderr
    messages = consume_all(embedded_settings, Topic.CLICKSTREAM)
    assert {len(message.key()) for message in messages} == {32}
    assert not any(b'"u1"' in message.value() for message in messages)


def test_replay_can_send_the_catalogue_alone(
    embedded_settings: Settings, rees46: Path, consume_all
) -> None:
    create_topics(embedded_settings)
    done = run("replay", "--events", str(rees46), "--catalog-only", settings=embedded_settings)
    assert done.returncode == 0, done.stderr
    assert len(consume_all(embedded_settings, Topic.CATALOG)) == 2
    assert consume_all(embedded_settings, Topic.CLICKSTREAM) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_replay_flushes_and_says_so(
    embedded_settings: Settings, tmp_path: Path, consume_all, number: signal.Signals
) -> None:
    create_topics(embedded_settings)
    events = tmp_path / "events.csv"
    rows = "".join(f"u,i,view,{1_500_000_000 + n}\n" for n in range(5000))
    events.write_text("user_id,item_id,event_type,timestamp\n" + rows)
    process = subprocess.Popen(
        command("replay", "--events", str(events), "--rate", "100"),
        env=environment_of(embedded_settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not consume_all(embedded_settings, Topic.CLICKSTREAM):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
        process.send_signal(number)
        output, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    arrived = len(consume_all(embedded_settings, Topic.CLICKSTREAM))
    assert f"Interrupted: 0 items and {arrived:,} events sent" in output


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rate", "5", "--speed-up", "2"], "--rate and --speed-up exclude each other"),
        (["--catalog-only", "--no-catalog"], "leave nothing to send"),
        (["--from-time", "noon"], "--from-time 'noon' is no time"),
        (["--from-time", "2030-01-01"], "none of the 2 events in "),
        (["--event-type", "teleport"], "--event-type: event type 'teleport' is unknown"),
        (["--format", "rees64"], "dataset format 'rees64' is unknown; use one of"),
        (["--columns", "user=x"], "'user' is no column of innerloop's"),
        (["--items", "absent.csv"], "absent.csv does not exist"),
    ],
)
def test_a_wrong_flag_is_one_line(rees46: Path, flags: list[str], message: str) -> None:
    done = run("replay", "--events", str(rees46), *flags)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_any_format_converts_to_files_for_training(rees46: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("dataset", "convert", "--events", str(rees46), "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "2 events written" in done.stdout
    assert "Skipped 1 rows: no user_id." in done.stdout

    table = load_items(out / "items.csv.gz")
    assert dict(zip(table.item_ids, table.texts, strict=True)) == {
        "1": "shiseido",
        "2": "aqua furniture living room",
    }
    log = load_events(out / "events.csv.gz", table)
    assert log.user_ids == ["u2", "u1"]
    assert log.times.tolist() == [1_569_888_001_000, 1_569_888_005_000]

    original = {(e.user_id, e.item_id, e.type, e.time, e.price) for e in EventFile(rees46).events()}
    copy = EventFile(out / "events.csv.gz").events()
    assert {(e.user_id, e.item_id, e.type, e.time, e.price) for e in copy} == original


def test_a_conversion_does_not_overwrite_what_it_reads(tmp_path: Path) -> None:
    path = tmp_path / "events.csv.gz"
    path.write_bytes(gzip.compress(b"user_id,item_id,event_type,timestamp\nu,i,view,1500000000\n"))
    before = path.read_bytes()
    done = run("dataset", "convert", "--events", str(path), "--out", str(tmp_path))
    assert done.returncode == 2
    assert "is itself to be read" in done.stderr
    assert path.read_bytes() == before


def test_the_complete_journey_is_written(tmp_path: Path) -> None:
    done = run("dataset", "complete-journey", "--out", str(tmp_path), "--events", "500")
    if "is not installed" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    assert pl.read_csv(tmp_path / "events.csv.gz").height >= 500
    assert (tmp_path / "items.csv.gz").is_file()
    assert (tmp_path / "README.md").is_file()


@pytest.mark.parametrize("name", ["rees46_oct2019", "online_retail", "amazon2018_electronics"])
def test_catalogue_messages_and_training_have_the_same_texts(name: str) -> None:
    path = SHARED_DATA / name / "items.csv.gz"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    table = load_items(path)
    items = list(open_items([path]).items())
    assert [item.item_id for item in items] == table.item_ids
    assert [item_text(item) for item in items] == table.texts
