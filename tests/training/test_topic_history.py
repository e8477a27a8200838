"""Training data from topics: what files give, and nothing that cannot be used."""

from __future__ import annotations

import csv
import random
import sys
import uuid
from pathlib import Path

import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file

from producer import PrivacyRequests
from producer.datasets import EventFile, open_items
from producer.replay import replay
from schemas.catalog import CatalogItem
from schemas.clickstream import ClickstreamEvent, EventType
from schemas.errors import BrokerError, DataError
from schemas.settings import Settings
from schemas.topics import Topic
from worker.cli.app import main
from worker.data import load_events, load_items
from worker.kafka_admin import consumer_lag, create_topics
from worker.model.bundle import FORMAT, WEIGHTS, Bundle, read_manifest
from worker.topic_history import LEFT_OUT, TopicHistory, read_history

USERS = 60
ITEMS = 30
START = 1_500_000_000


def item(item_id: str) -> tuple[str, bytes]:
    return item_id, msgspec.json.encode(CatalogItem(item_id=item_id, title=f"Title {item_id}"))


def event(event_id: str, user_id: str = "u", **fields) -> tuple[str, bytes]:
    given = {"type": EventType.VIEW, "time": 1000, "item_id": "a", **fields}
    made = ClickstreamEvent(event_id=event_id, user_id=user_id, **given)
    return user_id, msgspec.json.encode(made)


def write_shop(folder: Path, item_ids: list[str]) -> tuple[Path, Path]:
    """Write events, each at a time of its own, and the items in the order given."""
    draw = random.Random(0)
    rows = []
    for user in range(USERS):
        at, length = draw.randrange(ITEMS), draw.randrange(2, 10)
        for turn in sorted(draw.sample(range(40), length)):
            kind = draw.choice(["view", "view", "cart", "purchase", "impression"])
            at = (at + draw.randrange(1, 4)) % ITEMS
            second = START + USERS * (2 * user + turn) + user  # nobody else's
            rows.append((f"user-{user}", f"item-{at}", kind, second))
    events, items = folder / "events.csv", folder / "items.csv"
    with events.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "item_id", "event_type", "timestamp"])
        writer.writerows(rows)
    write_items(items, item_ids)
    return events, items


def write_items(path: Path, item_ids: list[str]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["item_id", "title", "brand"])
        writer.writerows([i, f"Thing number {i[5:]}", f"Brand {len(i)}"] for i in item_ids)


@pytest.fixture
def shop(tmp_path: Path, embedded_settings: Settings) -> tuple[Path, Path, TopicHistory]:
    """Files, and the history of the topics that they were replayed into.

    The embedded broker spreads the catalogue over partitions, so the rows of the items file, whose
    order means nothing, are put in the order that the topic was read in.
    """
    events, items = write_shop(tmp_path, [f"item-{n}" for n in range(ITEMS)])
    create_topics(embedded_settings)
    report = replay(embedded_settings, EventFile(events).events(), open_items([items]).items())
    assert report.items_sent == ITEMS
    history = read_history(embedded_settings)
    write_items(items, history.items.item_ids)
    return events, items, history


def test_topics_give_what_files_give(
    shop: tuple[Path, Path, TopicHistory], embedded_settings: Settings, consume_all
) -> None:
    events, items, history = shop
    table = load_items(items)
    log = load_events(events, table)
    assert history.items == table
    assert history.log.user_ids == log.user_ids
    for column in ("users", "items", "types", "times"):
        ours, theirs = getattr(history.log, column), getattr(log, column)
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype
    sent = len(consume_all(embedded_settings, Topic.CLICKSTREAM))
    assert sum(part.end - part.first for part in history.events_range.partitions) == sent
    assert history.left_out == {**dict.fromkeys(LEFT_OUT, 0), "no_evidence": sent - len(log)}
    assert sent > len(log)


def test_a_catalogue_in_one_partition_keeps_the_order_of_its_file(
    tmp_path: Path, kafka_settings: Settings
) -> None:
    events, items = write_shop(tmp_path, [f"item-{n * 7 % ITEMS}" for n in range(ITEMS)])
    create_topics(kafka_settings)
    replay(kafka_settings, EventFile(events).events(), open_items([items]).items())

    history = read_history(kafka_settings)

    table = load_items(items)
    assert history.items == table
    np.testing.assert_array_equal(history.log.items, load_events(events, table).items)


def test_the_wire_format_is_the_one_of_the_settings(
    embedded_settings: Settings, tmp_path: Path
) -> None:
    wire = {"format": "avro", "registry_url": f"mock://{uuid.uuid4().hex}"}
    settings = Settings.model_validate({**embedded_settings.model_dump(), "wire": wire})
    events, items = write_shop(tmp_path, [f"item-{n}" for n in range(ITEMS)])
    create_topics(settings)
    replay(settings, EventFile(events).events(), open_items([items]).items())

    history = read_history(settings)

    write_items(items, history.items.item_ids)
    assert history.items == load_items(items)
    log = load_events(events, history.items)
    np.testing.assert_array_equal(history.log.times, log.times)
    np.testing.assert_array_equal(history.log.items, log.items)


def test_reading_the_history_commits_no_offsets(
    shop: tuple[Path, Path, TopicHistory], embedded_settings: Settings
) -> None:
    lags = consumer_lag(
        embedded_settings, embedded_settings.worker.group_id, (Topic.CLICKSTREAM, Topic.CATALOG)
    )
    assert lags
    assert all(lag.committed is None for lag in lags)


def test_what_cannot_be_used_is_left_out_and_counted(
    embedded_settings: Settings, produce_all
) -> None:
    create_topics(embedded_settings)
    catalog = [item("a"), item("b"), item("gone"), ("gone", None), ("c", b"{"), ("d", item("e")[1])]
    produce_all(embedded_settings, Topic.CATALOG, catalog)
    good = [event("e1", time=3000), event("e2", item_id="b", time=2000)]
    bad = [
        ("u", b"\xff garbage"),
        ("u", b""),
        ("u", None),
        ("v", event("e3")[1]),
        event("e4", time=2**62),
        event("e5", consent=False),
        event("e6", type=EventType.IMPRESSION),
        event("e7", type=EventType.REMOVE_FROM_CART),
        event("e8", type=EventType.SEARCH, query="shoes", item_id=None),
        event("e9", item_id="gone"),
        event("e1", item_id="b", time=9000),
    ]
    bad += [event("e10", user_id="erased"), event("e11", user_id="withdrawn")]
    produce_all(embedded_settings, Topic.CLICKSTREAM, [*good, *bad])
    with PrivacyRequests(embedded_settings) as requests:
        requests.erase("erased")
        requests.withdraw_consent("withdrawn")
        requests.grant_consent("u")

    history = read_history(embedded_settings)

    ids = history.items.item_ids
    assert sorted(zip(ids, history.items.texts, strict=True)) == [
        ("a", "Title a"),
        ("b", "Title b"),
    ]
    assert [ids[code] for code in history.log.items] == ["b", "a"]
    assert history.log.times.tolist() == [2000, 3000]
    assert history.left_out == {
        "unusable_items": 2,
        "unusable_events": 5,
        "without_consent": 1,
        "barred": 2,
        "no_evidence": 3,
        "unknown_items": 1,
        "duplicates": 1,
    }


def test_events_of_the_same_time_come_by_partition_and_offset(
    embedded_settings: Settings, produce_all
) -> None:
    create_topics(embedded_settings)
    produce_all(embedded_settings, Topic.CATALOG, [item(name) for name in "abc"])
    records = [
        event(f"{user}-{n}", f"u{user}", item_id="abc"[n], time=5000 - 1000 * (n == 2))
        for n in range(3)
        for user in range(12)
    ]
    sent = produce_all(embedded_settings, Topic.CLICKSTREAM, records)
    assert len({message.partition() for message in sent}) > 1

    history = read_history(embedded_settings)

    decode = msgspec.json.Decoder(ClickstreamEvent).decode
    expected = [
        (made.user_id, made.item_id)
        for made in (
            decode(message.value())
            for message in sorted(
                sent,
                key=lambda m: (decode(m.value()).time, m.partition(), m.offset()),
            )
        )
    ]
    log, ids = history.log, history.items.item_ids
    read = [(log.user_ids[u], ids[i]) for u, i in zip(log.users, log.items, strict=True)]
    assert read == expected
    assert list(dict.fromkeys(user for user, _ in read)) == log.user_ids


def test_records_that_come_after_the_beginning_are_not_read(
    embedded_settings: Settings, produce_all
) -> None:
    create_topics(embedded_settings)
    produce_all(embedded_settings, Topic.CATALOG, [item("a")])
    produce_all(embedded_settings, Topic.CLICKSTREAM, [event("e1")])

    def late(name: str, total: int) -> None:
        produce_all(embedded_settings, Topic.CLICKSTREAM, [event(f"late {name}", time=2000)])

    steps: list[int] = []
    history = read_history(embedded_settings, late, steps.append)

    assert history.log.times.tolist() == [1000]
    ranges = history.events_range.partitions
    assert sum(part.end - part.first for part in ranges) == 1
    assert sum(steps) == 2


def test_empty_or_missing_topics_are_a_clear_error(
    embedded_settings: Settings, produce_all
) -> None:
    with pytest.raises(BrokerError, match="catalog does not exist; run `innerloop topics create`"):
        read_history(embedded_settings)
    create_topics(embedded_settings)
    with pytest.raises(DataError, match="catalog holds no items"):
        read_history(embedded_settings)
    produce_all(embedded_settings, Topic.CATALOG, [item("a")])
    with pytest.raises(DataError, match="clickstream holds no events to train on"):
        read_history(embedded_settings)
    produce_all(embedded_settings, Topic.CLICKSTREAM, [("u", b"garbage")])
    with pytest.raises(DataError, match="1 events that cannot be used"):
        read_history(embedded_settings)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Run the command line as a person does; return its exit status."""
    monkeypatch.setattr(sys, "argv", ["innerloop", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_topics_and_files_train_the_same_bundle(
    *,
    shop: tuple[Path, Path, TopicHistory],
    embedded_settings: Settings,
    text_encoder_folder: Path,
    tmp_path: Path,
    produce_all,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    events, items, history = shop
    produce_all(embedded_settings, Topic.CLICKSTREAM, [("u", b"garbage"), ("u", b"more of it")])
    monkeypatch.setenv("INNERLOOP_KAFKA__TOPIC_PREFIX", embedded_settings.kafka.topic_prefix)
    monkeypatch.setenv("INNERLOOP_TRAINING__ANCHORS", "16")
    monkeypatch.setenv("INNERLOOP_TRAINING__MEMORY", "true")
    common = ("--encoder", text_encoder_folder, "--epochs", 1, "--dim", 8, "--device", "cpu")
    broker = ("--bootstrap-servers", embedded_settings.kafka.bootstrap_servers)
    files = ("--events", events, "--items", items)

    assert run(monkeypatch, "train", *files, "--out", tmp_path / "files", *common) == 0
    capsys.readouterr()
    topics = ("--from-kafka", *broker)
    assert run(monkeypatch, "train", *topics, "--out", tmp_path / "topics", *common) == 0
    assert "2 events that cannot be used" in " ".join(capsys.readouterr().out.split())

    made = {name: Bundle(tmp_path / name).manifest for name in ("files", "topics")}
    assert made["topics"].version == made["files"].version
    weights = {name: load_file(tmp_path / name / WEIGHTS) for name in made}
    assert weights["topics"].keys() == weights["files"].keys()
    for name, tensor in weights["topics"].items():
        np.testing.assert_array_equal(tensor, weights["files"][name])

    origin = made["topics"].provenance
    assert origin.events_topic is not None
    assert origin.events_topic.topic == embedded_settings.kafka.topic(Topic.CLICKSTREAM)
    before = sum(part.end - part.first for part in history.events_range.partitions)
    assert sum(part.end - part.first for part in origin.events_topic.partitions) == before + 2
    assert origin.items_topic == history.items_range
    assert (origin.events_file, origin.items_sha256) == (None, None)
    assert origin.left_out["unusable_events"] == 2
    of_files = made["files"].provenance
    assert (of_files.events_file, of_files.items_file) == ("events.csv", "items.csv")
    assert (of_files.events_topic, of_files.left_out) == (None, {})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "give both --events and --items, or --from-kafka"),
        (("--events", "e.csv"), "give both --events and --items, or --from-kafka"),
        (("--items", "i.csv"), "give both --events and --items, or --from-kafka"),
        (("--from-kafka", "--events", "e.csv"), "--from-kafka takes the place of --events"),
        (
            ("--from-kafka", "--events", "e.csv", "--items", "i.csv"),
            "--from-kafka takes the place of --events",
        ),
    ],
)
def test_files_and_topics_are_both_or_neither(
    flags: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, "train", *flags, "--out", tmp_path / "bundle") == 2
    assert message in capsys.readouterr().err


def test_manifests_of_before_topics_are_still_read(tmp_path: Path) -> None:
    old = {
        "format": FORMAT,
        "version": "0" * 16,
        "created_at": 1,
        "model": {"dim": 8},
        "provenance": {
            "events_file": "events.csv",
            "events_sha256": "0" * 64,
            "items_file": "items.csv",
            "items_sha256": "1" * 64,
            "cut": 0.75,
            "cut_time": 5,
            "seed": 0,
            "train_events": 9,
            "train_users": 3,
            "settings": {"dim": 8},
        },
        "metrics": {},
        "files": {},
    }
    (tmp_path / "manifest.json").write_bytes(msgspec.json.encode(old))
    provenance = read_manifest(tmp_path).provenance
    assert provenance.events_file == "events.csv"
    assert (provenance.events_topic, provenance.left_out) == (None, {})
