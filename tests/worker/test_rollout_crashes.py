"""A worker killed in the midst of a switch: the next one serves the plan, and nothing is lost."""

import os
import signal
import sys

import pytest
from exactly_once_parts import EXACTLY_ONCE
from fake_model import FakeModel
from rollout_lives import start
from rollout_parts import await_plan, fake_bundle, following, publish
from running_worker import PATIENCE_S, drain, make_topics, wait_until, with_worker
from test_rollout_service import assert_each_answered_once
from test_service import answers, catalogue_records, event_records, visits

from schemas.topics import Topic


@pytest.mark.parametrize("point", ["before", "after"])
def test_killed_in_a_switch_each_event_is_answered_once(
    kafka_settings, produce_all, consume_all, tmp_path, *, monkeypatch, point
):
    settings = with_worker(
        kafka_settings, follow_models=True, instance_id="only", transaction_ms=0, **EXACTLY_ONCE
    )
    make_topics(settings)
    produce_all(settings, Topic.CATALOG, catalogue_records(range(40)))
    events = visits(users=30, length=12, seed=5)
    # The server that workers are forked off does not look for modules where this process does.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    log = tmp_path / "worker.log"
    process = start(settings, point, log)
    try:
        produce_all(settings, Topic.CLICKSTREAM, event_records(events[:180]))
        wait_until(lambda: len(answers(consume_all, settings)) > 60, "some progress")
        plan = publish(settings, fake_bundle(tmp_path / "a"))
        produce_all(settings, Topic.CLICKSTREAM, event_records(events[180:]))
        process.join(PATIENCE_S)
        assert process.exitcode == -signal.SIGKILL, log.read_text()
    finally:
        process.kill()
        process.join()
    with following(settings, FakeModel("own")) as worker:
        await_plan(plan, worker)
        drain(settings)
    found = answers(consume_all, settings)
    assert_each_answered_once(found, events)
    versions = {r.caused_by: r.model_version for r in found}
    assert set(versions.values()) == {"own", "other-a"}
    for user in {e.user_id for e in events}:
        own = [versions[e.event_id] == "own" for e in events if e.user_id == user]
        assert own == sorted(own, reverse=True), "back to the old model"
