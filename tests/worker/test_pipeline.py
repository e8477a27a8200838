"""Events of many users in one micro-batch: order, duplicates, what is learned from and what not."""

import itertools

import msgspec
import numpy as np
import pytest
import torch
from fake_model import FakeModel
from worker_parts import NOW_MS, Worker, event, item, messages

from schemas.clickstream import EventType
from schemas.codec import decode_state
from schemas.recommendations import ReasonKind
from schemas.settings import WorkerSettings
from worker.catalogue import ItemChange


def streams(users: int, seed: int = 0):
    """Events of users, from one to nine each, interleaved at random but in order for each user."""
    draw = np.random.default_rng(seed)
    kinds = [EventType.VIEW, EventType.CLICK, EventType.PURCHASE, EventType.IMPRESSION]
    left = {f"u{u}": int(draw.integers(1, 10)) for u in range(users)}
    sent = dict.fromkeys(left, 0)
    events = []
    while left:
        user = str(draw.choice(list(left)))
        kind = kinds[int(draw.integers(len(kinds)))]
        events.append(event(user, sent[user], f"i{draw.integers(30)}", type=kind))
        sent[user] += 1
        left[user] -= 1
        if not left[user]:
            del left[user]
    return events


def run(events, batch: int) -> Worker:
    worker = Worker()
    for start in range(0, len(events), batch):
        worker.process(events[start : start + batch], first_offset=start)
    return worker


def same_lists(left, right) -> None:
    for a, b in zip(left, right, strict=True):
        assert msgspec.structs.replace(a, items=[], adaptation=None) == msgspec.structs.replace(
            b, items=[], adaptation=None
        )
        assert a.adaptation.steps == b.adaptation.steps
        assert a.adaptation.support_loss_after == pytest.approx(
            b.adaptation.support_loss_after, abs=1e-5
        )
        assert [i.item_id for i in a.items] == [i.item_id for i in b.items]
        assert [i.reason for i in a.items] == [i.reason for i in b.items]
        np.testing.assert_allclose(
            [i.score for i in a.items], [i.score for i in b.items], atol=1e-5
        )


@pytest.mark.parametrize("batch", [7, 64, 10_000])
def test_batches_give_what_one_event_at_a_time_gives(batch):
    events = streams(users=25)
    single, batched = run(events, 1), run(events, batch)
    same_lists(single.journal.recommendations(), batched.journal.recommendations())
    assert len(single.arena) == len(batched.arena) == 25
    for user in single.arena:
        twin = batched.arena.get(user.user_id)
        slots = [torch.tensor([u.slot]) for u in (user, twin)]
        one, other = single.arena.gather(slots[0]), batched.arena.gather(slots[1])
        for name in ("hidden", "bias", "adapter"):
            torch.testing.assert_close(
                getattr(one, name), getattr(other, name), atol=1e-5, rtol=1e-5
            )
        assert user.recent.keys == twin.recent.keys
        assert (user.events_seen, user.offset) == (twin.events_seen, twin.offset)


def test_several_events_of_a_user_in_a_batch_equal_the_models_own_steps():
    worker = Worker()
    chosen = [3, 9, 3, 12]
    worker.process([event("u", n, f"i{i}") for n, i in enumerate(chosen)])
    model = FakeModel()
    users = model.start(1)
    for n, i in enumerate(chosen):
        vector = model.item_vectors([f"i{i}"], [f"thing number {i}"])
        gap = torch.tensor([-1.0 if n == 0 else 60.0])
        users, _, _ = model.adapt(users, vector, torch.tensor([0]), gap)
    slot = torch.tensor([worker.arena.get("u").slot])
    arrays = worker.arena.gather(slot)  # rounded after each step
    torch.testing.assert_close(arrays.hidden, users.hidden, atol=1e-3, rtol=0)
    torch.testing.assert_close(arrays.adapter, users.adapter, atol=3e-3, rtol=0)


def test_the_order_of_a_users_events_matters_so_the_tests_above_can_fail():
    forth = [event("u", n, f"i{n}") for n in range(4)]
    back = [event("u", n, f"i{3 - n}") for n in range(4)]
    last = [run(events, 4).journal.recommendations()[-1] for events in (forth, back)]
    scores = [[i.score for i in r.items] for r in last]
    assert not np.allclose(scores[0], scores[1], atol=1e-3)


def test_one_round_holds_one_event_of_each_user():
    worker = Worker()
    worker.process([event("a", 0), event("a", 1), event("b", 0), event("a", 2), event("b", 1)])
    assert worker.model.adapt_calls == [2, 2, 1]
    assert worker.sample("innerloop_batch_rounds_sum") == 3
    assert worker.sample("innerloop_batch_users_sum") == 2


def test_every_event_is_answered_after_its_own_step():
    worker = Worker()
    worker.process([event("u", n, f"i{n}") for n in range(3)])
    answers = worker.journal.recommendations()
    assert [r.caused_by for r in answers] == ["u-0", "u-1", "u-2"]
    assert [r.events_seen for r in answers] == [1, 2, 3]
    assert len({r.recommendation_id for r in answers}) == 3
    assert len({tuple(i.score for i in r.items) for r in answers}) == 3
    assert all(r.adaptation.steps == 1 for r in answers)
    assert all(r.adaptation.support_loss_after < r.adaptation.support_loss_before for r in answers)


def test_a_duplicate_is_dropped_in_the_same_batch_and_in_a_later_one():
    worker = Worker()
    worker.process([event("u", 0), event("u", 0), event("u", 1)])
    before = worker.journal.states()["u"]
    worker.process([event("u", 1)], first_offset=3)
    assert [r.caused_by for r in worker.journal.recommendations()] == ["u-0", "u-1"]
    assert worker.journal.states()["u"] == before
    assert worker.sample("innerloop_records_total", outcome="duplicate") == 2
    assert worker.sample("innerloop_records_total", outcome="applied") == 2
    assert worker.journal.committed == {0: 4}


def test_the_same_event_id_of_two_users_is_no_duplicate():
    worker = Worker()
    worker.process([event("a", 0, event_id="e"), event("b", 0, event_id="e")])
    answers = worker.journal.recommendations()
    assert len(answers) == 2
    assert answers[0].recommendation_id != answers[1].recommendation_id


def test_duplicates_are_known_among_the_recent_events_only():
    worker = Worker(settings=WorkerSettings(top_k=5, recent_events=2))
    worker.process([event("u", 0), event("u", 1), event("u", 2), event("u", 0)])
    assert [r.events_seen for r in worker.journal.recommendations()] == [1, 2, 3, 4]


def test_records_up_to_the_last_applied_offset_are_skipped():
    worker = Worker()
    events = [event("u", n, f"i{n}") for n in range(4)]
    worker.process(events)
    states, answers = worker.journal.states(), worker.journal.recommendations()
    fresh = [event("u", n + 10, f"i{n}") for n in range(4)]  # ids that are no duplicates
    worker.process(fresh, first_offset=0)
    assert worker.journal.states() == states
    assert worker.journal.recommendations() == answers
    assert worker.sample("innerloop_records_total", outcome="already_applied") == 4
    worker.process(fresh, first_offset=0, partition=1)  # another partition has offsets of its own
    assert len(worker.journal.recommendations()) == 8


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"item_id": "nowhere"}, "unknown_item"),
        ({"type": EventType.IMPRESSION}, "no_evidence"),
        ({"type": EventType.REMOVE_FROM_CART}, "no_evidence"),
        ({"item_id": None, "type": EventType.SEARCH, "query": "  "}, "no_evidence"),
    ],
)
def test_an_event_that_tells_nothing_is_answered_from_the_state_as_it_is(fields, cause):
    worker = Worker()
    worker.process([event("u", 0, "i4")])
    worker.process([event("u", 1, **fields)], first_offset=1)
    first, second = worker.journal.recommendations()
    assert second.items == first.items
    assert (second.events_seen, second.adaptation.steps) == (2, 0)
    assert second.adaptation.support_loss_before is None
    assert worker.sample("innerloop_events_without_step_total", cause=cause) == 1
    states = [decode_state(value) for value in worker.journal.values("user-state")]
    assert states[0].arrays == states[1].arrays
    assert states[0].last_time == states[1].last_time
    assert states[1].offset == 1


def test_a_search_adapts_on_its_text():
    worker = Worker()
    worker.process(
        [
            event("u", 0, None, type=EventType.SEARCH, query="thing number 17"),
            event("v", 0, "i17", type=EventType.SEARCH, query="thing number 17"),
            event("w", 0, "i17"),
        ]
    )
    assert [r.adaptation.steps for r in worker.journal.recommendations()] == [1, 1, 1]
    users = [worker.arena.get(u) for u in "uvw"]
    arrays = worker.arena.gather(torch.tensor([u.slot for u in users]))
    torch.testing.assert_close(arrays.bias[0], arrays.bias[1])
    torch.testing.assert_close(arrays.bias[0], arrays.bias[2])


def test_reasons_name_the_most_similar_recent_item_and_the_start_before_any():
    worker = Worker()
    worker.process([event("u", 0, "nowhere")])
    worker.process([event("u", 1, "i4"), event("u", 2, "i9")], first_offset=1)
    start, _, later = worker.journal.recommendations()
    assert {i.reason.kind for i in start.items} == {ReasonKind.START}
    vectors = worker.catalogue.vectors
    for listed in later.items:
        assert listed.reason.kind is ReasonKind.SIMILAR_TO
        own = vectors[worker.catalogue.row(listed.item_id)]
        closest = max(("i4", "i9"), key=lambda i: float(own @ vectors[worker.catalogue.row(i)]))
        assert listed.reason.item_id == closest


def test_events_without_consent_leave_no_trace():
    worker = Worker()
    worker.process([event("u", 0, consent=False), event("v", 0)])
    assert worker.arena.get("u") is None
    assert [r.user_id for r in worker.journal.recommendations()] == ["v"]
    assert "u" not in worker.journal.states()
    assert worker.sample("innerloop_records_total", outcome="no_consent") == 1
    assert worker.journal.committed == {0: 2}


def test_outputs_go_to_the_partition_of_their_event_before_states_before_offsets():
    worker = Worker()
    worker.processor.process(
        messages([event("u", 0), event("u", 1)], 5, partition=2)
        + messages([event("v", 0)], 9, partition=1)
    )
    assert worker.journal.steps == [("recommendations", 3), ("user-state", 2), ("commit", 2)]
    assert worker.journal.committed == {2: 7, 1: 10}
    assert {(r.key, r.partition) for r in worker.journal.records} == {(b"u", 2), (b"v", 1)}
    states = worker.journal.states()
    assert (states["u"].partition, states["u"].offset) == (2, 6)
    assert (states["v"].partition, states["v"].offset) == (1, 9)


def test_time_running_backwards_counts_as_no_time():
    worker = Worker()
    model = worker.model
    gaps = []
    original = model.adapt

    def spy(users, targets, types, given):
        gaps.extend(given.tolist())
        return original(users, targets, types, given)

    model.adapt = spy
    times = [NOW_MS - 10_000, NOW_MS - 20_000, NOW_MS - 4_000]
    worker.process([event("u", n, time=t) for n, t in enumerate(times)])
    assert gaps == [-1.0, 0.0, 6.0]
    assert worker.arena.get("u").last_time == NOW_MS - 4_000


def test_a_step_that_is_not_finite_is_undone():
    worker = Worker()
    original = worker.model.adapt

    def blow_up(users, targets, types, gaps):
        adapted, before, after = original(users, targets, types, gaps)
        adapted.hidden[types == 5] = torch.nan
        return adapted, before, after

    worker.model.adapt = blow_up
    worker.process([event("u", 0), event("v", 0)])
    worker.process([event("u", 1, type=EventType.PURCHASE), event("v", 1)], first_offset=2)
    first, _, bad, good = worker.journal.recommendations()
    assert bad.items == first.items
    assert (bad.adaptation.steps, good.adaptation.steps) == (0, 1)
    assert worker.sample("innerloop_events_without_step_total", cause="not_finite") == 1


def test_an_empty_catalogue_is_answered_with_an_empty_list():
    worker = Worker(items=0)
    worker.process([event("u", 0)])
    (answer,) = worker.journal.recommendations()
    assert answer.items == []
    worker.catalogue.apply([ItemChange(f"i{n}", item(n)) for n in range(3)])
    worker.process([event("u", 1)], first_offset=1)
    assert len(worker.journal.recommendations()[-1].items) == 3


def test_ids_and_contents_are_repeated_by_a_replay_from_the_old_state():
    events = streams(users=5, seed=3)
    first, second = run(events, 16), run(events, 5)
    pairs = itertools.zip_longest(first.journal.recommendations(), second.journal.recommendations())
    for a, b in pairs:
        assert a.recommendation_id == b.recommendation_id


def test_slots_of_users_who_left_are_used_again_from_the_start():
    worker = Worker()
    worker.process([event(f"u{n}", k) for n in range(5) for k in range(3)], partition=1)
    assert worker.arena.release_partition(1) == 5
    assert len(worker.arena) == 0
    worker.process([event("new", 0)])
    twin = Worker()
    twin.process([event("new", 0)])
    assert worker.journal.recommendations()[-1].items == twin.journal.recommendations()[-1].items
