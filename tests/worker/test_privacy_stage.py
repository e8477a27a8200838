"""Requests carried out ahead of a micro-batch, without Kafka."""

import logging

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worker_parts import NOW_MS, RECORD_MS, Worker, event, message

from schemas.codec import JsonCodec
from schemas.privacy import PrivacyAction, PrivacyAudit, PrivacyRequest
from schemas.settings import Settings
from schemas.user_state import event_key
from worker.privacy import barred, follower
from worker.privacy.barred import FOR_EVER, NOT_BARRED, Barred
from worker.privacy.follower import PrivacyFollower
from worker.privacy.records import noted_request
from worker.privacy.stage import PrivacyStage

USERS = [f"u{n}" for n in range(8)]
ERASE, WITHDRAW, GRANT = (
    PrivacyAction.ERASE,
    PrivacyAction.WITHDRAW_CONSENT,
    PrivacyAction.GRANT_CONSENT,
)
LIFT = "lift"


def as_specified(history) -> int:
    """Up to which time events are barred, straight from what users were promised."""
    until, withdrawn = NOT_BARRED, False
    for action, time in history:
        if action == LIFT:
            until, withdrawn = NOT_BARRED, False
        elif action is WITHDRAW:
            withdrawn = True
        elif action is ERASE and not withdrawn:
            until = max(until, time)
        elif action is GRANT and withdrawn:
            until, withdrawn = time, False
    return FOR_EVER if withdrawn else until


STEPS = st.tuples(
    st.sampled_from(USERS), st.sampled_from([ERASE, WITHDRAW, GRANT, LIFT]), st.integers(0, 99)
)


@given(st.lists(STEPS, max_size=60), st.integers(1, 5))
def test_who_is_barred_until_when(steps, lately):
    before = barred._LATELY
    barred._LATELY = lately
    table, history = Barred(), {user: [] for user in USERS}
    try:
        for user, action, time in steps:
            if action == LIFT:
                table.lift(user)
            else:
                table.note(user, action, time)
            history[user].append((action, time))
    finally:
        barred._LATELY = before
    keys = np.array([event_key(user) for user in USERS], np.uint64)
    expected = [as_specified(history[user]) for user in USERS]
    assert table.until(keys).tolist() == expected
    assert [table.until_of(user) for user in USERS] == expected


class Reader:
    """In place of a reader of `privacy`: returns what it is given."""

    def __init__(self) -> None:
        self.behind = frozenset()
        self.waiting = []

    def add(self, partitions) -> None: ...

    def remove(self, partitions) -> None: ...

    def read(self, most, wait_s) -> list:
        found, self.waiting = self.waiting, []
        return found


class Asked:
    """A worker without Kafka, and what is asked of it."""

    def __init__(self, committed: int = 0, **settings) -> None:
        self.worker = Worker(**settings)
        self.reader = Reader()
        self.progress: dict[int, int] = {}
        self.worker.journal.take_up = self.progress.update
        self._offset = 0
        self.follower = PrivacyFollower(
            self.reader, JsonCodec(), self.worker.metrics, lambda _: committed
        )
        self.stage = PrivacyStage(
            self.follower,
            self.worker.users,
            JsonCodec(),
            Settings().kafka,
            self.worker.metrics,
            ready=lambda: [0],
            worker=lambda: "worker-0",
            audited=True,
            now_ms=lambda: NOW_MS,
        )
        self.worker.processor._privacy = self.stage
        self.follower.begin([0])

    def ask(self, user: str, action: PrivacyAction, time: int = RECORD_MS) -> None:
        request = PrivacyRequest(
            request_id=f"r{self._offset}", user_id=user, action=action, time=time
        )
        self.put(user, msgspec.json.encode(request))

    def put(self, key: str, value: bytes | None) -> None:
        self.reader.waiting.append(message(value, key.encode(), self._offset))
        self._offset += 1

    def come_level(self) -> None:
        assert self.follower.step() in ([0], [])
        assert not self.follower.pending

    def audit(self) -> list[PrivacyAudit]:
        decode = msgspec.json.Decoder(PrivacyAudit).decode
        return [decode(value) for value in self.worker.journal.values("privacy-audit")]

    def nulls(self) -> list[tuple[str, bytes]]:
        records = self.worker.journal.records
        return [(record.topic, record.key) for record in records if record.value is None]


def test_an_erasure_goes_through_all_topics_in_the_order_that_makes_a_crash_harmless():
    asked = Asked()
    asked.come_level()
    asked.worker.process([event("u", 0), event("v", 0)])
    asked.ask("u", ERASE)
    asked.follower.follow()
    assert asked.stage.due
    asked.worker.journal.steps.clear()
    asked.worker.process([event("v", 1)], first_offset=2)
    topics = [topic for topic, _ in asked.worker.journal.steps]
    assert topics.index("privacy-audit") > max(
        place for place, topic in enumerate(topics) if topic in ("user-state", "recommendations")
    )
    assert topics[-1] == "commit"
    assert asked.nulls() == [("user-state", b"u"), ("recommendations", b"u")]
    [told] = [
        noted_request(record.headers)
        for record in asked.worker.journal.records
        if record.value is None and record.topic == "recommendations"
    ]
    assert (told.request_id, told.action, told.time) == ("r0", ERASE, RECORD_MS)
    assert (told.partition, told.offset) == (0, 0)
    assert asked.progress == {0: 1}
    assert asked.worker.arena.get("u") is None
    assert asked.worker.arena.get("v") is not None
    assert asked.audit() == [
        PrivacyAudit(
            request_id="r0",
            action=ERASE,
            requested_at=RECORD_MS,
            done_at=NOW_MS,
            partition=0,
            offset=0,
            states_removed=1,
            tombstones=2,
            worker="worker-0",
        )
    ]
    assert not asked.stage.due


def test_nothing_of_who_is_erased_lies_in_the_arena():
    asked = Asked()
    asked.come_level()
    asked.worker.process([event("u", n, item_id=f"i{n}") for n in range(5)])
    arena = asked.worker.arena
    [slot] = arena.find(["u"])
    row = arena.to_device(np.array([slot], np.int64))
    start = arena.gather_rows(arena.to_device(arena.admit_all(["new"], [0])))
    assert not arena.gather_rows(row).equal(start)
    asked.ask("u", ERASE)
    asked.follower.follow()
    asked.worker.process([])
    assert arena.columns.keys[slot].max() == arena.columns.times[slot].max() == 0
    assert arena.columns.items[slot].max() == -1
    assert arena.gather_rows(row).equal(start)


@pytest.mark.parametrize(
    ("time", "published", "used"),
    [
        (NOW_MS - 5000, NOW_MS - 5000, False),
        (NOW_MS - 5000, NOW_MS, False),  # late, or published again
        (NOW_MS + 5000, NOW_MS - 5000, False),  # of before, and claims to be of the future
        (NOW_MS, NOW_MS, True),
    ],
)
def test_which_events_of_who_was_erased_are_used(time, published, used):
    asked = Asked()
    asked.ask("u", ERASE, NOW_MS - 1000)
    asked.come_level()
    one = event("u", 0, time=time)
    record = message(msgspec.json.encode(one), b"u", 7, timestamp=published)
    asked.worker.processor.process([record])
    assert (asked.worker.arena.get("u") is not None) == used
    outcome = "applied" if used else "erased"
    assert asked.worker.sample("innerloop_records_total", outcome=outcome) == 1
    assert asked.worker.journal.committed == {0: 8}


def test_requests_carried_out_before_bar_old_events_and_erase_nobody_again():
    asked = Asked(committed=2)
    asked.ask("u", ERASE)
    asked.ask("v", ERASE)
    asked.ask("w", ERASE)
    asked.come_level()
    asked.worker.process([event(user, 0) for user in "uvwx"])
    assert {user.user_id for user in asked.worker.arena} == {"x"}
    assert [record.request_id for record in asked.audit()] == ["r2"]
    assert asked.progress == {0: 3}


def test_what_a_request_says_is_not_believed_where_it_lies_in_the_future():
    asked = Asked()
    asked.ask("u", ERASE, NOW_MS + 10**9)
    asked.come_level()
    late = message(msgspec.json.encode(event("u", 0, time=NOW_MS)), b"u", 7, timestamp=NOW_MS)
    asked.worker.processor.process([late])
    assert asked.worker.arena.get("u") is not None


def test_a_null_value_is_the_end_of_a_users_requests():
    asked = Asked()
    asked.ask("u", WITHDRAW)
    asked.put("u", None)
    asked.come_level()
    asked.worker.process([event("u", 0)])
    assert asked.worker.arena.get("u") is not None
    assert len(asked.audit()) == 1


def test_progress_is_committed_again_before_brokers_drop_it(monkeypatch):
    asked = Asked(committed=5)
    asked.come_level()
    assert asked.stage.due  # once at the start
    asked.worker.process([])
    assert asked.progress == {0: 5}
    assert not asked.stage.due
    monkeypatch.setattr(follower, "_REFRESH_S", 0.0)
    assert asked.stage.due


def test_where_progress_is_not_known_yet_nothing_is_done():
    asked = Asked()
    asked.follower._committed = lambda _: None
    asked.ask("u", ERASE)
    assert asked.follower.step() == []
    assert asked.follower.pending
    assert not asked.stage.due


def test_partitions_that_go_take_their_requests_along():
    asked = Asked()
    asked.ask("u", WITHDRAW)
    asked.come_level()
    asked.follower.abandon([0])
    assert not asked.stage.due
    assert asked.worker.sample("innerloop_privacy_users_barred") == 0
    asked.worker.process([event("u", 0)])
    assert asked.worker.arena.get("u") is not None


def test_requests_that_cannot_be_read_are_told_without_what_they_hold(caplog):
    caplog.set_level(logging.DEBUG)
    asked = Asked()
    for value in (b"", b"{", b'{"user_id":"secret"}', b"\xff\xfe", b'["secret"]'):
        asked.put("secret", value)
    asked.come_level()
    labels = {"action": "unknown", "result": "invalid"}
    assert asked.worker.sample("innerloop_privacy_requests_total", **labels) == 5
    assert "cannot be read" in caplog.text
    assert "2 more like it" in caplog.text
    assert "secret" not in caplog.text
