"""Users beyond the arena: who leaves, who comes back, and that it makes no difference."""

import pytest
from test_pipeline import streams
from worker_parts import Worker, event

from schemas.settings import WorkerSettings
from worker.state.sealed import Sealed
from worker.state.sealing import PLAIN
from worker.state.store import open_store

SCORES = ["events", "hits", "reciprocal_rank", "popularity_hits"]


def settings(most: int | None) -> WorkerSettings:
    return WorkerSettings(top_k=5, recent_events=8, resident_users=most)


def run(events, most: int | None, batch: int = 4, **parts) -> Worker:
    worker = Worker(settings=settings(most), **parts)
    for start in range(0, len(events), batch):
        worker.process(events[start : start + batch], first_offset=start)
    return worker


@pytest.mark.parametrize("folder", [None, "users", "sealed"])
@pytest.mark.parametrize("most", [1, 5, 24])
def test_who_was_evicted_and_came_back_has_missed_nothing(tmp_path, folder, most):
    events = streams(users=30)
    sealing = Sealed([b"k" * 32]) if folder == "sealed" else PLAIN
    store = open_store(folder and tmp_path / folder, sealing=sealing)
    roomy, tight = run(events, None), run(events, most, store=store)
    assert tight.journal.recommendations() == roomy.journal.recommendations()
    assert tight.journal.states() == roomy.journal.states()
    # What was last published for whom is not forgotten, either.
    for name in SCORES:
        metric = f"innerloop_prequential_{name}_total"
        for seen in ("0", "1", "2", "3-4", "5-9"):
            assert tight.sample(metric, events_seen=seen) == roomy.sample(metric, events_seen=seen)
    assert len(roomy.arena) == 30
    assert len(tight.arena) <= max(most, 4)
    assert tight.sample("innerloop_user_moves_total", move="returned") > 0
    evicted = tight.sample("innerloop_user_moves_total", move="evicted")
    returned = tight.sample("innerloop_user_moves_total", move="returned")
    assert tight.sample("innerloop_users_stored") == evicted - returned == 30 - len(tight.arena)
    store.close()


def test_the_one_away_longest_leaves_first():
    worker = Worker(settings=settings(3))
    for n, user in enumerate("abcad"):
        worker.process([event(user, n)], first_offset=n)
    assert [user.user_id for user in worker.arena] == ["c", "a", "d"]
    worker.process([event("b", 9), event("c", 9)], first_offset=9)
    assert [user.user_id for user in worker.arena] == ["d", "c", "b"]


def test_users_of_one_batch_are_resident_together():
    worker = Worker(settings=settings(2))
    worker.process([event(f"u{n}", 0) for n in range(7)])
    assert len(worker.arena) == 7
    worker.process([event("v", 0)], first_offset=7)
    assert len(worker.arena) == 2


def test_an_erased_user_starts_anew_wherever_the_state_was():
    worker = Worker(settings=settings(1))
    worker.process([event("a", 0)])
    worker.process([event("b", 0)], first_offset=1)  # a is in the store now
    assert worker.users.erase("a")
    assert worker.users.erase("b")
    assert not worker.users.erase("c")
    assert not worker.store_content()
    worker.journal.records.clear()
    worker.process([event("a", 1), event("b", 1)], first_offset=2)
    assert [r.events_seen for r in worker.journal.recommendations()] == [1, 1]


def test_a_partition_that_goes_takes_its_users_along():
    worker = Worker(settings=settings(2))
    for partition in (0, 1):
        for n in range(3):
            event_ = event(f"p{partition}u{n}", 0)
            worker.process([event_], first_offset=n, partition=partition)
    worker.users.release_partition(0)
    worker.users.report()
    assert {user.partition for user in worker.arena} == {1}
    assert worker.sample("innerloop_users_stored") == 1
    assert worker.sample("innerloop_users_resident") == 2
    assert worker.store_content(0) == []


def test_a_record_that_is_damaged_in_the_store_costs_its_user_alone(caplog):
    worker = Worker(settings=settings(1))
    worker.process([event("a", 0)])
    worker.process([event("b", 0)], first_offset=1)
    ((user, entry),) = worker.store_content()
    assert user == "a"
    worker.store.put(0, {"a": entry[:-30]})
    worker.process([event("a", 1), event("b", 1)], first_offset=2)
    assert [r.events_seen for r in worker.journal.recommendations()] == [1, 1, 1, 2]
    assert worker.sample("innerloop_restored_states_total", result="invalid") == 1
    assert "cannot be read" in caplog.text


def test_restored_users_wait_in_the_store():
    steady = run(streams(users=12), None)
    records = [(r.key, r.value) for r in steady.journal.records if r.topic == "user-state"]
    later = Worker(settings=settings(4))
    assert later.loader.load(records, 0, 1 << 40) == {"restored": 12}
    assert (len(later.arena), len(later.store_content())) == (0, 12)
    more = [event(f"u{n}", 50, "i7") for n in range(12)]
    for worker in (steady, later):
        worker.journal.records.clear()
        for n, one in enumerate(more):
            worker.process([one], first_offset=1000 + n)
    assert later.journal.recommendations() == steady.journal.recommendations()
    assert later.journal.states() == steady.journal.states()
