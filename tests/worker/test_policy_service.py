"""A worker with a policy on a broker, stopped and started again: the lists of one that was not."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from running_worker import drain, make_topics, running, with_worker
from test_pipeline import same_lists
from test_policy_filters import SHOES, labelled, permitted, surfaces_of
from worker_parts import Worker, event

from schemas.clickstream import EventType
from schemas.recommendations import Recommendation
from schemas.settings import PolicySettings, Settings
from schemas.topics import Topic
from worker.catalogue import ItemChange

POLICY = PolicySettings(
    leave_out="purchased", restrictions=(SHOES,), brand_cap=3, diversity=0.2, candidates=10,
    exploration="posterior", reason_types=True,
)  # fmt: skip


def visits():
    kinds = [EventType.VIEW, EventType.PURCHASE, EventType.CLICK]
    surfaces = surfaces_of(120)
    return [
        event(f"u{n % 7}", n, f"i{(5 * n) % 40}", type=kinds[n % 3], surface=surfaces[n])
        for n in range(120)
    ]


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_lists_follow_the_policy_across_a_restart(
    kafka_settings, produce_all, consume_all, delivery
):
    data = with_worker(kafka_settings, delivery=delivery).model_dump()
    settings = Settings.model_validate({**data, "policy": POLICY.model_dump()})
    make_topics(settings)
    items = [labelled(n) for n in range(40)]
    encode = msgspec.json.encode
    produce_all(settings, Topic.CATALOG, [(item.item_id, encode(item)) for item in items])
    events = visits()
    for part in (events[:50], events[50:]):
        produce_all(settings, Topic.CLICKSTREAM, [(e.user_id, encode(e)) for e in part])
        with running(settings):
            drain(settings)
    decode = msgspec.json.Decoder(Recommendation).decode
    found = {}
    for message in consume_all(settings, Topic.RECOMMENDATIONS):
        answer = decode(message.value())
        assert answer == found.setdefault(answer.recommendation_id, answer)
    of_event = {answer.caused_by: answer for answer in found.values()}
    assert set(of_event) == {e.event_id for e in events}
    alone = Worker(policy=POLICY, settings=settings.worker, items=0)
    alone.catalogue.apply([ItemChange(item.item_id, item) for item in items])
    alone.process(events)
    bought: dict[str, set[str]] = {}
    for e, expected in zip(events, alone.journal.recommendations(), strict=True):
        answer = of_event[e.event_id]
        same_lists([msgspec.structs.replace(answer, produced_at=0)],
                   [msgspec.structs.replace(expected, produced_at=0)])  # fmt: skip
        assert [i.propensity for i in answer.items] == pytest.approx(
            [i.propensity for i in expected.items], rel=1e-2
        )
        if e.type is EventType.PURCHASE:
            bought.setdefault(e.user_id, set()).add(e.item_id)
        listed = [i.item_id for i in answer.items]
        assert len(listed) == 5 and not set(listed) & bought.get(e.user_id, set())
        numbers = [int(item_id[1:]) for item_id in listed]
        assert all(e.surface != "shoes-page" or permitted("shoes-page", n) for n in numbers)
        brands = Counter(n % 3 for n in numbers if n % 3 != 2)
        assert max(brands.values(), default=0) <= 3
