"""Live quality equals what is worked out by hand from the published lists."""

from collections import defaultdict

import numpy as np
import pytest
from fake_model import FakeModel
from test_restore import restored
from worker_parts import Worker, event, item

from schemas.clickstream import EventType
from worker.catalogue import ItemChange
from worker.events_seen import EVENTS_SEEN_LABELS, events_seen_bucket
from worker.stages.rank import rank

NAMES = ("events", "hits", "reciprocal_rank", "popularity_hits")


def counts(worker: Worker) -> dict[str, dict[str, float]]:
    return {
        label: {
            name: worker.sample(f"innerloop_prequential_{name}_total", events_seen=label)
            for name in NAMES
        }
        for label in EVENTS_SEEN_LABELS
    }


def by_hand(worker: Worker, events, popular=()) -> dict[str, dict[str, float]]:
    """Look every event up in the recommendation that answers the user's event before it."""
    model = worker.model
    query, nothing = model.queries(model.start(1)), np.full((1, 1), -1)
    start = rank(query, nothing, worker.catalogue, model, 5).rows[0]
    last = defaultdict(lambda: [worker.catalogue.item_ids[row] for row in start])
    seen = defaultdict(int)
    expected = {label: dict.fromkeys(NAMES, 0.0) for label in EVENTS_SEEN_LABELS}
    answers = {r.caused_by: r for r in worker.journal.recommendations()}
    for e in events:
        before = last[e.user_id]
        evidence = e.type is not EventType.IMPRESSION
        if evidence and worker.catalogue.row(e.item_id) >= 0:
            bucket = expected[EVENTS_SEEN_LABELS[int(events_seen_bucket(seen[e.user_id]))]]
            bucket["events"] += 1
            bucket["popularity_hits"] += e.item_id in popular
            if e.item_id in before:
                bucket["hits"] += 1
                bucket["reciprocal_rank"] += 1 / (1 + before.index(e.item_id))
        last[e.user_id] = [i.item_id for i in answers[e.event_id].items]
        seen[e.user_id] += 1
    return expected


def stream(users: int, length: int, seed: int = 5):
    draw = np.random.default_rng(seed)
    events = []
    for n in range(length):
        for u in draw.permutation(users):
            # Few items and unknown ones among them, so that there are hits, misses and gaps.
            kind = EventType.IMPRESSION if draw.random() < 0.15 else EventType.VIEW
            events.append(event(f"u{u}", n, f"i{draw.integers(12)}", type=kind))
    return events


@pytest.mark.parametrize("batch", [1, 13, 1000])
def test_counts_equal_those_worked_out_from_the_lists(batch):
    popular = [f"i{n}" for n in (9, 2, 4, 11, 3, 0, 7)]
    worker = Worker(model=FakeModel(popular_items=popular), items=10)
    events = stream(users=4, length=25)
    for first in range(0, len(events), batch):
        worker.process(events[first : first + batch], first_offset=first)
    expected = by_hand(worker, events, popular[:5])
    found = counts(worker)
    for label in EVENTS_SEEN_LABELS:
        assert found[label] == pytest.approx(expected[label]), label
    assert all(0 < bucket["hits"] < bucket["events"] for bucket in found.values())
    assert sum(bucket["popularity_hits"] for bucket in found.values()) > 0


def test_a_restored_user_is_scored_against_the_list_published_before():
    events = stream(users=4, length=12)
    half = len(events) // 2
    steady = Worker(items=10)
    steady.process(events)
    before = Worker(items=10)
    before.process(events[:half])
    after = restored(before, into=Worker(items=10))
    after.process(events[half:], first_offset=half)
    total = {
        label: {name: counts(before)[label][name] + counts(after)[label][name] for name in NAMES}
        for label in EVENTS_SEEN_LABELS
    }
    for label in EVENTS_SEEN_LABELS:
        assert total[label] == pytest.approx(counts(steady)[label]), label


def test_the_list_without_events_follows_the_catalogue():
    worker = Worker(items=3)
    worker.process([event("a", 0, "i1")])
    assert counts(worker)["0"]["hits"] == 1  # three items, five places
    worker.catalogue.apply([ItemChange(f"i{n}", item(n)) for n in range(3, 500)])
    query = worker.model.queries(worker.model.start(1))
    ranked = rank(query, np.full((1, 1), -1), worker.catalogue, worker.model, 500).rows[0]
    listed, unlisted = (worker.catalogue.item_ids[ranked[place]] for place in (4, 5))
    worker.process([event("b", 0, listed), event("c", 0, unlisted)], first_offset=1)
    assert counts(worker)["0"]["events"] == 3
    assert counts(worker)["0"]["hits"] == 2


@pytest.mark.parametrize(
    ("seen", "label"),
    [(0, "0"), (1, "1"), (2, "2"), (3, "3-4"), (4, "3-4"), (5, "5-9"), (9, "5-9"), (10, "10+"),
     (20, "10+"), (21, "21+"), (10**6, "21+")],
)  # fmt: skip
def test_buckets(seen, label):
    assert EVENTS_SEEN_LABELS[int(events_seen_bucket(seen))] == label
