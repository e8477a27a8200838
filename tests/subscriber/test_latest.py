"""What is kept of each user."""

from __future__ import annotations

from answers import answer

from worker.subscriber import Received
from worker.subscriber.latest import LatestRecommendations


def kept(users: int = 10, events: int = 10) -> LatestRecommendations:
    return LatestRecommendations(users, events)


def test_a_repeated_answer_is_dropped_and_does_not_become_the_latest():
    store = kept()
    older, newer = answer("u", "e-1"), answer("u", "e-2")
    assert store.add(Received(older, 1))
    assert store.add(Received(newer, 2))
    # A worker killed before its offsets were committed repeats both, in order.
    assert not store.add(Received(older, 3))
    assert store.latest("u") == Received(newer, 2)
    assert not store.add(Received(newer, 4))
    assert store.latest("u").received_at == 2


def test_an_event_is_answered_by_its_own_recommendation_and_by_what_came_later():
    store = kept()
    assert store.since("u", "e-1") is None
    store.add(Received(answer("u", "e-1", event_time=100), 1))
    assert store.since("u", "e-1").recommendation.caused_by == "e-1"
    assert store.since("u", "e-2") is None
    store.add(Received(answer("u", "e-2", event_time=200), 2))
    assert store.since("u", "e-1").recommendation.caused_by == "e-2"
    # An event whose answer nobody saw: a later event's will do, if it is known when it was.
    assert store.since("u", "e-lost") is None
    assert store.since("u", "e-lost", event_time=150).recommendation.caused_by == "e-2"
    assert store.since("u", "e-lost", event_time=200) is None
    assert store.since("other", "e-1") is None


def test_events_answered_together_are_all_answered():
    class Coalesced:
        """A recommendation as workers may publish them later, with a field not known yet."""

        def __init__(self, base, also):
            self._base, self.also_caused_by = base, also

        def __getattr__(self, name):
            return getattr(self._base, name)

    store = kept()
    store.add(Received(Coalesced(answer("u", "e-3"), ["e-1", "e-2"]), 1))
    for event in ("e-1", "e-2", "e-3"):
        assert store.since("u", event).recommendation.caused_by == "e-3"
    assert store.since("u", "e-4") is None


def test_the_user_used_longest_ago_is_forgotten_first():
    store = kept(users=2)
    store.add(Received(answer("a", "e"), 1))
    store.add(Received(answer("b", "e"), 1))
    assert store.latest("a") is not None
    store.add(Received(answer("c", "e"), 1))
    assert len(store) == 2
    assert store.latest("b") is None
    assert store.latest("a") is not None


def test_of_each_user_only_so_many_answers_are_remembered():
    store = kept(events=3)
    for n in range(10):
        store.add(Received(answer("u", f"e-{n}"), n))
    assert [n for n in range(10) if store.since("u", f"e-{n}")] == [7, 8, 9]


def test_a_user_can_be_forgotten():
    store = kept()
    store.add(Received(answer("u", "e"), 1))
    store.forget("u")
    store.forget("nobody")
    assert store.latest("u") is None
    assert store.since("u", "e") is None


def test_latency_is_from_the_event_to_the_receipt():
    assert Received(answer("u", "e", event_time=1_000), 1_250).latency_ms == 250
