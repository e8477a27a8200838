"""Users idle for longer than the TTL: forgotten by their own events' time, whatever the batches."""

import pytest
from test_pipeline import same_lists
from worker_parts import NOW_MS, Worker, event

from schemas.settings import WorkerSettings
from worker.stages.publish import OutgoingRecord

DAY_MS = 86_400_000
START_MS = NOW_MS - 400 * DAY_MS


def settings(ttl: float | None = 30, most: int | None = None) -> WorkerSettings:
    return WorkerSettings(top_k=5, recent_events=8, user_ttl_days=ttl, resident_users=most)


def on_day(user: str, day: float, item_id: str = "i1", **fields):
    time = START_MS + round(day * DAY_MS)
    return event(user, 0, item_id, event_id=f"{user}@{day}", time=time, **fields)


def run(events, batch: int, **parts) -> Worker:
    worker = Worker(**{"settings": settings(), **parts})
    for start in range(0, len(events), batch):
        worker.process(events[start : start + batch], first_offset=start)
    return worker


def tombstones(worker: Worker) -> list[str]:
    states = [r for r in worker.journal.records if r.topic == "user-state"]
    return [r.key.decode() for r in states if r.value is None]


COMING_AND_GOING = [
    *(on_day("a", day, f"i{day}") for day in (0, 1, 2)),
    on_day("b", 10, "i4"),
    on_day("a", 31.5, "i5"),  # 29.5 days after the last: still known
    on_day("a", 61.5, "i6"),  # 30 days to the millisecond: still known
    on_day("b", 62, "i7"),  # 52 days: starts anew
    on_day("b", 62.5, "i8"),
    on_day("a", 92.5, "i9"),  # 31 days: starts anew
]
SEEN = [1, 2, 3, 1, 4, 5, 1, 2, 1]


@pytest.mark.parametrize("batch", [1, 2, 4, 100])
@pytest.mark.parametrize("most", [1, None])
def test_who_is_away_for_too_long_starts_anew(batch, most):
    worker = run(COMING_AND_GOING, batch, settings=settings(most=most))
    answers = worker.journal.recommendations()
    assert [r.events_seen for r in answers] == SEEN
    fresh = run([on_day("a", 92.5, "i9")], 1)
    assert answers[-1].items == fresh.journal.recommendations()[0].items
    state, twin = worker.journal.states()["a"], fresh.journal.states()["a"]
    assert state.arrays == twin.arrays
    assert state.recent == twin.recent
    assert (state.events_seen, state.last_time) == (twin.events_seen, twin.last_time)
    assert worker.sample("innerloop_user_moves_total", move="forgotten") == 2


def test_answers_do_not_depend_on_the_micro_batches():
    by_batch = [run(COMING_AND_GOING, batch) for batch in (1, 3, 100)]
    for other in by_batch[1:]:
        same_lists(other.journal.recommendations(), by_batch[0].journal.recommendations())
        assert other.journal.states() == by_batch[0].journal.states()


def test_without_a_ttl_nobody_is_forgotten():
    worker = run(COMING_AND_GOING, 1, settings=settings(ttl=None))
    assert [r.events_seen for r in worker.journal.recommendations()] == [1, 2, 3, 1, 4, 5, 2, 3, 6]
    assert tombstones(worker) == []


@pytest.mark.parametrize("most", [2, None])
def test_who_does_not_come_back_is_erased_from_arena_store_and_changelog(most):
    worker = Worker(settings=settings(most=most))
    gone = [on_day(f"gone{n}", n / 10) for n in range(9)]
    worker.process(gone)
    for n in range(30):
        worker.process([on_day("here", 20 + n)], first_offset=100 + n)
    assert sorted(tombstones(worker)) == sorted(e.user_id for e in gone)
    assert [user.user_id for user in worker.arena] == ["here"]
    assert worker.store_content() == []
    assert worker.sample("innerloop_user_moves_total", move="forgotten") == 9


def test_events_that_are_a_day_late_find_their_user():
    worker = Worker(settings=settings())
    worker.process([on_day("u", 0), on_day("v", 30.9)])
    for n in range(10):
        worker.process([on_day("v", 30.91 + n / 1000)], first_offset=10 + n)
    worker.process([on_day("u", 29.99)], first_offset=30)
    assert worker.journal.recommendations()[-1].events_seen == 2
    assert tombstones(worker) == []


def test_where_nothing_happens_nobody_is_forgotten():
    worker = Worker(settings=settings())
    worker.process([on_day("u", 0)], partition=0)
    for n in range(20):
        worker.process([on_day("v", 300 + n)], first_offset=n, partition=1)
    assert tombstones(worker) == []
    worker.users.release_partition(1)
    worker.process([on_day("w", 1)], first_offset=5, partition=0)
    assert tombstones(worker) == []


def test_a_restored_worker_forgets_the_same_users():
    steady = Worker(settings=settings())
    early = [on_day("a", 0), on_day("b", 1), on_day("c", 20)]
    steady.process(early)
    later = Worker(settings=settings())
    records: list[OutgoingRecord] = steady.journal.records
    later.loader.load([(r.key, r.value) for r in records if r.topic == "user-state"], 0, 1 << 40)
    events = [on_day("a", 30.5), on_day("b", 30.6), *(on_day("c", 33 + n) for n in range(9))]
    for worker in (steady, later):
        worker.journal.records.clear()
        for n, one in enumerate(events):
            worker.process([one], first_offset=10 + n)
    assert [r.events_seen for r in later.journal.recommendations()][:2] == [1, 2]
    assert later.journal.recommendations() == steady.journal.recommendations()
    assert later.journal.states() == steady.journal.states()
