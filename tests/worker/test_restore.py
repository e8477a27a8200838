"""What a worker reads back from the changelog is the state of one that was never stopped."""

import logging

import msgspec
import pytest
import torch
from fake_model import FakeModel
from worker_parts import NOW_MS, Worker, event

from schemas.clickstream import EventType
from schemas.codec import decode_state, encode_state
from schemas.user_state import event_key

FAR = 1 << 40


def restored(worker: Worker, into: Worker | None = None, next_offset: int = FAR) -> Worker:
    """Return a new worker with what the changelog of another one holds."""
    fresh = into or Worker()
    records = [(r.key, r.value) for r in worker.journal.records if r.topic == "user-state"]
    fresh.results = fresh.loader.load(records, 0, next_offset)
    assert len(fresh.arena) == 0
    fresh.bring_in(*{key.decode() for key, _ in records})
    return fresh


def some_events(user: str, n: int, first: int = 0):
    kinds = [EventType.VIEW, EventType.PURCHASE, EventType.IMPRESSION, EventType.CLICK]
    events = [
        event(user, first + k, f"i{(7 * k + len(user)) % 30}", type=kinds[k % 4]) for k in range(n)
    ]
    search = event(user, first + n, None, type=EventType.SEARCH, query="thing number 3")
    return [*events, search]


def arrays(worker: Worker, user_id: str):
    return worker.arena.gather(torch.tensor([worker.arena.get(user_id).slot]))


def test_a_restored_worker_goes_on_as_if_never_stopped():
    steady = Worker()
    steady.process(some_events("u", 12) + some_events("vv", 5))
    later = restored(steady)
    assert later.results == {"restored": 2}
    for worker in (steady, later):
        worker.journal.records.clear()
        worker.process(some_events("u", 3, 50) + some_events("vv", 3, 50), first_offset=100)
    assert steady.journal.recommendations() == later.journal.recommendations()
    assert steady.journal.states() == later.journal.states()


def test_restored_users_know_duplicates_and_records_applied_before():
    worker = Worker()
    events = some_events("u", 4)
    worker.process(events)
    later = restored(worker)
    later.process(events)  # a replay from offset 0
    assert later.journal.recommendations() == []
    assert later.sample("innerloop_records_total", outcome="already_applied") == len(events)
    later.process(events[-1:], first_offset=90)
    assert later.sample("innerloop_records_total", outcome="duplicate") == 1


def test_a_batch_is_repeated_identically_when_its_states_were_not_written():
    worker, crashed = Worker(), Worker()
    before, batch = some_events("u", 4), some_events("u", 6, 20)
    for w in (worker, crashed):
        w.process(before)
    states = [r for r in crashed.journal.records if r.topic == "user-state"]
    crashed.process(batch, first_offset=len(before))
    crashed.journal.records[:] = states  # the crash: recommendations are out, states are not
    again = restored(crashed)
    worker.journal.records.clear()
    worker.process(batch, first_offset=len(before))
    again.process(before + batch)
    assert again.journal.recommendations() == worker.journal.recommendations()
    assert again.journal.states() == worker.journal.states()


def test_the_last_record_of_a_user_counts_and_an_empty_one_erases():
    worker = Worker()
    worker.process(some_events("u", 2) + some_events("v", 2))
    worker.process(some_events("u", 2, 30), first_offset=30)
    records = [(r.key, r.value) for r in worker.journal.records if r.topic == "user-state"]
    fresh = Worker()
    assert fresh.loader.load([*records, (b"v", None)], 0, FAR) == {"restored": 1, "erased": 1}
    fresh.bring_in("u", "v")
    assert fresh.arena.get("v") is None
    assert fresh.arena.get("u").events_seen == 6
    assert fresh.loader.load([(b"u", None)], 0, FAR) == {"erased": 1}
    assert len(fresh.arena) == 0
    assert not fresh.store_content()


def damaged(value: bytes, how: str) -> tuple[bytes, bytes]:
    state = decode_state(value)
    replace = msgspec.structs.replace
    return {
        "garbage": (b"u", b"\xc1garbage"),
        "cut short": (b"u", value[:-20]),
        "layout": (b"u", encode_state(replace(state, version=99))),
        "short array": (b"u", encode_state(replace(state, arrays=state.arrays[:-4]))),
        "key": (b"u", encode_state(replace(state, user_id="w"))),
    }[how]


@pytest.mark.parametrize("how", ["garbage", "cut short", "layout", "short array", "key"])
def test_a_record_that_cannot_be_read_costs_that_user_alone(how, caplog):
    worker = Worker()
    worker.process(some_events("u", 2) + some_events("v", 2))
    values = {r.key: r.value for r in worker.journal.records if r.topic == "user-state"}
    records = [(b"v", values[b"v"]), damaged(values[b"u"], how)]
    fresh = Worker()
    with caplog.at_level(logging.ERROR):
        results = fresh.loader.load(records, 0, FAR)
    assert results == {"restored": 1, "invalid": 1}
    fresh.bring_in("u", "v", "w")
    assert [user.user_id for user in fresh.arena] == ["v"]
    assert len(caplog.records) == 1


def test_a_state_of_another_model_is_adapted_again_from_its_recent_events():
    old = Worker(model=FakeModel("fake-0"))
    old.model.start = lambda n: FakeModel.start(FakeModel(), n)
    events = some_events("u", 6)
    old.process(events)
    new = restored(old)
    assert new.results == {"adapted_again": 1}
    straight = Worker()
    straight.process(events)
    for name in ("hidden", "bias", "adapter"):
        torch.testing.assert_close(
            getattr(arrays(new, "u"), name), getattr(arrays(straight, "u"), name)
        )
    twin = straight.arena.get("u")
    assert new.arena.get("u").events_seen == twin.events_seen == 7
    assert new.arena.get("u").last_time == twin.last_time
    assert new.arena.get("u").offset == twin.offset


def test_adapting_again_uses_the_recent_events_only_and_what_the_catalogue_knows():
    old = Worker(model=FakeModel("fake-0"))
    events = some_events("u", 20)
    old.process(events)
    new = restored(old, into=Worker(items=10))
    kept = events[-len(old.arena.get("u").recent) :]
    assert 0 < len(kept) == old.settings.recent_events < len(events)
    straight = Worker(items=10)
    straight.process(
        [
            event("u", 0, e.item_id, event_id=e.event_id, type=e.type, query=e.query, time=e.time)
            for e in kept
        ]
    )
    torch.testing.assert_close(arrays(new, "u").bias, arrays(straight, "u").bias)


def test_a_state_ahead_of_the_clickstream_skips_nothing(caplog):
    worker = Worker()
    worker.process(some_events("u", 4), first_offset=1000)
    with caplog.at_level(logging.WARNING):
        later = restored(worker, next_offset=10)  # the topic was deleted and made anew
    assert "made anew" in caplog.text
    assert later.arena.get("u").events_seen == 5
    later.process([event("u", 90)], first_offset=3)
    assert len(later.journal.recommendations()) == 1


def test_impressions_do_not_push_out_what_the_state_was_learned_from():
    worker = Worker()  # keeps eight
    liked = [event("u", n, f"i{n}") for n in range(8)]
    shown = [event("u", 10 + n, f"i{n}", type=EventType.IMPRESSION) for n in range(25)]
    worker.process(liked + shown)
    user = worker.arena.get("u")
    assert list(user.recent.keys) == [event_key(e.event_id) for e in liked[4:] + shown[-4:]]
    assert user.recent.known_rows() == [worker.catalogue.row(f"i{n}") for n in (7, 6, 5, 4)]
    more = [event("u", 50 + n, f"i{20 + n}") for n in range(8)]
    worker.process(more, first_offset=33)
    assert list(user.recent.keys) == [event_key(e.event_id) for e in more]
    assert user.recent.known_rows() == [
        worker.catalogue.row(f"i{20 + n}") for n in range(7, -1, -1)
    ]


def test_a_long_query_is_kept_in_bounds():
    worker = Worker()
    query = "shoes " * 300
    worker.process([event("u", 0, None, type=EventType.SEARCH, query=query, time=NOW_MS)])
    assert worker.journal.states()["u"].recent.queries == {0: query[:512]}
