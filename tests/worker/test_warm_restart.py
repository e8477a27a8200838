"""A worker stopped and started again reads what changed, and is none the worse for it."""

import base64
import logging
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from exactly_once_parts import with_protocol
from fake_model import FakeModel
from running_worker import (
    PATIENCE_S,
    drain,
    make_topics,
    running,
    wait_until,
    with_kafka,
    with_worker,
)
from test_service import (
    assert_same_answers,
    assert_same_states,
    catalogue_records,
    event_records,
    visits,
)

from schemas.codec import decode_state
from schemas.recommendations import Recommendation
from schemas.settings import Settings
from schemas.topics import Topic

decode_recommendation = msgspec.json.Decoder(Recommendation).decode

USERS = 60
EVENTS = visits(users=USERS, length=8, seed=4)
PIECES = [EVENTS[n : n + 120] for n in range(0, len(EVENTS), 120)]
PARTITIONS = 3


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "users"


@pytest.fixture(params=["at least once", "exactly once, new group protocol"])
def settings(request, kafka_settings, produce_all, folder) -> Settings:
    if request.param != "at least once":
        kafka_settings = with_protocol(kafka_settings, "consumer")
    return filled(kafka_settings, produce_all, folder)


@pytest.fixture
def simple(kafka_settings, produce_all, folder) -> Settings:
    return filled(kafka_settings, produce_all, folder)


def filled(settings, produce_all, folder: Path | None, **changes) -> Settings:
    """Return settings for topics with a catalogue; ten users are resident, the others stored."""
    settings = with_worker(settings, state_folder=folder, resident_users=10, **changes)
    make_topics(settings)
    produce_all(settings, Topic.CATALOG, catalogue_records(range(40)))
    return settings


def serve(settings, produce_all, events=(), model: FakeModel | None = None) -> Counter:
    """Have a worker process events and stop; return how its partitions and states came to it."""
    produce_all(settings, Topic.CLICKSTREAM, event_records(events))
    with running(settings, model) as worker:
        drain(settings, 2 * PATIENCE_S)
        ready = "innerloop_restored_partitions_total"
        sources = ("snapshot", "changelog")
        wait_until(
            lambda: sum(worker.sample(ready, source=s) for s in sources) == PARTITIONS, "all taken"
        )
        # They are kept once they are served, which takes more than their states.
        wait_until(lambda: worker.sample("innerloop_ready") == 1.0, "all served")
        assert worker.sample("innerloop_restore_left_records") == 0
        counts = Counter({s: int(worker.sample(ready, source=s)) for s in sources})
        for result in ("restored", "adapted_again", "erased", "invalid"):
            counts[result] += int(worker.sample("innerloop_restored_states_total", result=result))
    return +counts


def outputs(settings, consume_all):
    answers = [
        decode_recommendation(m.value()) for m in consume_all(settings, Topic.RECOMMENDATIONS)
    ]
    latest = {m.key(): m.value() for m in consume_all(settings, Topic.USER_STATE)}
    states = [decode_state(value) for value in latest.values() if value is not None]
    return answers, {state.user_id: state for state in states}


def assert_as_never_stopped(settings, make_settings, produce_all, consume_all) -> None:
    """Compare what came out with what one worker makes of the same events, without a folder."""
    twin = make_settings(settings.kafka.bootstrap_servers)
    twin = with_worker(twin)
    make_topics(twin)
    produce_all(twin, Topic.CATALOG, catalogue_records(range(40)))
    produce_all(twin, Topic.CLICKSTREAM, event_records(EVENTS))
    with running(twin):
        drain(twin, 2 * PATIENCE_S)
    answers, states = outputs(settings, consume_all)
    expected_answers, expected_states = outputs(twin, consume_all)
    assert Counter(a.caused_by for a in answers) == Counter(e.event_id for e in EVENTS)
    assert_same_answers(answers, expected_answers)
    assert_same_states(states, expected_states)


def is_clean(folder: Path) -> bool:
    return {path.name for path in folder.iterdir()} <= {"worker.lock"}


def test_restarts_read_no_more_than_what_changed(
    settings, make_settings, produce_all, consume_all, folder
):
    assert serve(settings, produce_all, PIECES[0]) == {"changelog": PARTITIONS}
    for piece in PIECES[1:]:
        found = serve(settings, produce_all, piece)
        assert found["snapshot"] == PARTITIONS
        # The end of a transaction may not have been written yet when the worker stopped.
        assert found["restored"] <= USERS * (settings.worker.delivery == "exactly_once")
    assert_as_never_stopped(settings, make_settings, produce_all, consume_all)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_what_another_worker_did_meanwhile_is_read(
    settings, make_settings, produce_all, consume_all, tmp_path
):
    other = with_worker(settings, state_folder=tmp_path / "other")
    for piece, mine in zip(PIECES, (settings, other, settings, other), strict=True):
        found = serve(mine, produce_all, piece)
        if piece is PIECES[2]:
            assert found == {"snapshot": PARTITIONS, "restored": USERS}
    assert_as_never_stopped(settings, make_settings, produce_all, consume_all)


def test_partitions_that_moved_away_are_not_kept(
    simple, make_settings, produce_all, consume_all, tmp_path
):
    """Two workers share the partitions, and stop one after the other."""
    other = with_worker(simple, state_folder=tmp_path / "other")
    produce_all(simple, Topic.CLICKSTREAM, event_records(PIECES[0]))
    with running(simple) as first:
        drain(simple, 2 * PATIENCE_S)
        with running(other) as second:
            revoked = "innerloop_rebalanced_partitions_total"
            wait_until(lambda: first.sample(revoked, how="revoked") > 0, "partitions to move")
            moved = first.sample(revoked, how="revoked")
            source = "innerloop_restored_partitions_total"
            wait_until(lambda: second.sample(source, source="changelog") == moved, "them taken")
            produce_all(simple, Topic.CLICKSTREAM, event_records(PIECES[1]))
            drain(simple, 2 * PATIENCE_S)
            first.stop()
    produce_all(simple, Topic.CLICKSTREAM, event_records(PIECES[2]))
    found = serve(simple, produce_all)
    assert found["snapshot"] == PARTITIONS - moved
    assert found["changelog"] == moved
    serve(simple, produce_all, PIECES[3])
    assert_as_never_stopped(simple, make_settings, produce_all, consume_all)


def test_a_user_erased_meanwhile_is_gone_from_the_folder(simple, produce_all, folder):
    serve(simple, produce_all, PIECES[0])
    (kept,) = folder.glob("*/data.mdb")
    assert b"u7" in kept.read_bytes()
    produce_all(simple, Topic.USER_STATE, [("u7", None)])
    assert serve(simple, produce_all) == {"snapshot": PARTITIONS, "erased": 1}
    (kept,) = folder.glob("*/data.mdb")
    assert kept.stat().st_mode & 0o777 == 0o600
    content = kept.read_bytes()
    assert b"u8" in content
    assert b"u7" not in content


def test_sealed_users_come_back_while_keys_are_exchanged(
    simple, make_settings, produce_all, consume_all, tmp_path, folder, caplog
):
    keys = tmp_path / "state.key"
    keys.touch(mode=0o600)
    sealed = with_worker(simple, state_key_file=keys)

    def serve_with(piece: list, *numbers: int) -> Counter:
        lines = [base64.b64encode(bytes([number]) * 32) for number in numbers]
        keys.write_bytes(b"\n".join(lines))
        return serve(sealed, produce_all, piece)

    assert serve_with(PIECES[0], 1) == {"changelog": PARTITIONS}
    # This is in every state.
    assert b"fake-1" in consume_all(sealed, Topic.USER_STATE)[0].value()
    left = [file for file in folder.rglob("*") if file.is_file()]
    assert {file.name for file in left} == {"worker.lock", "snapshot.json", "data.mdb"}
    assert not any(b"fake-1" in file.read_bytes() for file in left)
    assert serve_with(PIECES[1], 2, 1) == {"snapshot": PARTITIONS}
    assert serve_with(PIECES[2], 2) == {"snapshot": PARTITIONS}
    with caplog.at_level(logging.WARNING):
        found = serve_with(PIECES[3], 3)
    assert found == {"changelog": PARTITIONS, "restored": USERS}
    assert "worker.state_key_file has only" in caplog.text
    assert_as_never_stopped(sealed, make_settings, produce_all, consume_all)


def test_another_model_adapts_those_kept_again(simple, produce_all, consume_all):
    serve(simple, produce_all, PIECES[0], FakeModel("old"))
    assert serve(simple, produce_all, PIECES[1], FakeModel("new"))["snapshot"] == PARTITIONS
    _, states = outputs(simple, consume_all)
    assert {s.model_version for s in states.values()} == {"new"}
    assert {s.events_seen for s in states.values()} == {4}


def test_topics_made_anew_are_read_whole(simple, produce_all, consume_all, caplog):
    serve(simple, produce_all, PIECES[0])
    admin = AdminClient(simple.kafka.client_config())
    name = simple.kafka.topic(Topic.USER_STATE)
    admin.delete_topics([name])[name].result(120)
    wait_until(lambda: name not in admin.list_topics(timeout=60).topics, "the topic deleted")
    make_topics(simple)
    with caplog.at_level(logging.WARNING):
        assert serve(simple, produce_all, PIECES[1]) == {"changelog": PARTITIONS}
    assert "topics were made anew since" in caplog.text
    _, states = outputs(simple, consume_all)
    assert {s.events_seen for s in states.values()} == {2}


def test_a_snapshot_that_is_damaged_is_not_trusted(simple, produce_all, folder, caplog):
    serve(simple, produce_all, PIECES[0])
    (file,) = folder.glob("*/data.mdb")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        found = serve(simple, produce_all, PIECES[1])
    assert "the file is not the one that was written" in caplog.text
    assert found == {"changelog": PARTITIONS, "restored": USERS}
    assert serve(simple, produce_all) == {"snapshot": PARTITIONS}


def test_a_snapshot_too_old_for_null_values_is_not_used(simple, produce_all, caplog):
    serve(simple, produce_all, PIECES[0])
    admin = AdminClient(simple.kafka.client_config())
    change = ConfigEntry("delete.retention.ms", "1", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(
        "topic", simple.kafka.topic(Topic.USER_STATE), incremental_configs=[change]
    )
    admin.incremental_alter_configs([resource])[resource].result(120)
    with caplog.at_level(logging.WARNING):
        assert serve(simple, produce_all)["changelog"] == PARTITIONS
    assert "null values may be gone" in caplog.text


@pytest.mark.slow
def test_a_killed_worker_keeps_nothing(simple, produce_all, consume_all, start, make_settings):
    # One that was killed would keep its partitions until its session is over.
    simple = with_kafka(simple, consumer_properties={"group.instance.id": "only"})
    serve(simple, produce_all, PIECES[0])
    produce_all(simple, Topic.CLICKSTREAM, event_records(PIECES[1]))
    killed = start(simple)
    drain(simple, 2 * PATIENCE_S)
    killed.kill()
    killed.wait()
    found = serve(simple, produce_all, PIECES[2])
    assert found["changelog"] == PARTITIONS
    assert found["restored"] >= USERS
    serve(simple, produce_all, PIECES[3])
    assert_as_never_stopped(simple, make_settings, produce_all, consume_all)


def test_a_worker_that_fails_keeps_nothing(simple, produce_all, folder, monkeypatch):
    def fail(self) -> None:
        raise OSError("made up")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="made up"):
        patch.setattr("worker.rollout.arms.Arms.tidy_up", fail)
        with running(simple):
            pass
    assert is_clean(folder)


def test_without_the_setting_nothing_is_kept(simple, produce_all, folder):
    serve(simple, produce_all, PIECES[0])
    assert not is_clean(folder)
    without = with_worker(simple, warm_restart=False)
    assert serve(without, produce_all)["changelog"] == PARTITIONS
    assert is_clean(folder)


def test_a_full_disk_costs_the_snapshot_alone(simple, produce_all, folder, monkeypatch, caplog):
    def fail(*_) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("worker.state.disk_store.write_notes", fail)
    with caplog.at_level(logging.WARNING):
        serve(simple, produce_all, PIECES[0])
    assert "No space left" in caplog.text
    assert is_clean(folder)
    assert serve(simple, produce_all)["changelog"] == PARTITIONS


def test_the_embedded_broker_tells_too_little(embedded_settings, produce_all, folder, caplog):
    settings = filled(embedded_settings, produce_all, folder)
    produce_all(settings, Topic.CLICKSTREAM, event_records(PIECES[0]))
    with caplog.at_level(logging.WARNING), running(settings):
        drain(settings, 2 * PATIENCE_S)
    assert "no users will be kept" in caplog.text
    assert is_clean(folder)
