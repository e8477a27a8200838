"""Lists under a policy: the best of what it lets through, by either way of ranking, always full."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fake_model import FakeModel
from test_memory_bundle import clicks, model, worker_of
from test_pipeline import same_lists, streams
from worker_parts import Worker, event, item

from schemas.catalog import CatalogItem
from schemas.clickstream import EVENT_TYPE_INDEX, EventType
from schemas.settings import PolicySettings, Restriction, ScoreRule, WorkerSettings
from worker.catalogue import Catalogue, ItemChange
from worker.policy.policy import Policy
from worker.rows import NO_ITEM
from worker.stages.rank import MemoryStep, rank

__all__ = ["model"]

TREE = [("Shoes", "Running"), ("Shoes", "Boots"), ("Shoestrings",), ("Home", "Shoes"), ()]
BRANDS = ["acme", "bolt", None]

SHOES = Restriction(surface="shoes-page", categories=("Shoes",))
NO_HOME = Restriction(surface="gifts", except_categories=("Home", "Shoes > Boots"))
RULES = (
    ScoreRule(brand="acme", add=0.4),
    ScoreRule(category="Shoes", add=-0.3),
    ScoreRule(item="i7", add=1.5),
    ScoreRule(brand="bolt", category="Shoes > Boots", add=0.25),
)


def labelled(number: int, **fields) -> CatalogItem:
    fields.setdefault("categories", TREE[number % 5])
    return item(number, brand=BRANDS[number % 3], **fields)


def below(number: int, *paths: tuple[str, ...]) -> bool:
    return any(TREE[number % 5][: len(path)] == path for path in paths)


def permitted(surface: str | None, number: int) -> bool:
    if surface == "shoes-page":
        return below(number, ("Shoes",))
    if surface == "gifts":
        return not below(number, ("Home",), ("Shoes", "Boots"))
    return True


def amount(number: int) -> float:
    """What `RULES` add, spelled out once more."""
    total = 0.4 * (number % 3 == 0) - 0.3 * (number % 5 in (0, 1)) + 1.5 * (number == 7)
    return total + 0.25 * (number % 3 == 1 and number % 5 == 1)


def surfaces_of(n: int) -> list[str | None]:
    return [("shoes-page", "gifts", "home", None)[i % 4] for i in range(n)]


def expected_lists(whole, surfaces, left_out, k, *, rules=False):
    """Take complete rankings and go down them."""
    lists = []
    for rows, scores, surface, without in zip(
        whole.rows, whole.scores, surfaces, left_out, strict=True
    ):
        listed = [
            (-(np.float64(score) + (amount(row) if rules else 0.0)), row)
            for row, score in zip(rows.tolist(), scores.tolist(), strict=True)
            if row != NO_ITEM and permitted(surface, row) and row not in without
        ]
        rows_of_list = [row for _, row in sorted(listed)][:k]
        lists.append(rows_of_list + [NO_ITEM] * (k - len(rows_of_list)))
    return lists


def batch_policy(policy, recent, types, surfaces):
    """What a pipeline asks for, without events."""
    wanted = policy.for_users(recent, types)
    groups = [policy._items.group_of.get(surface, 0) for surface in surfaces]
    if wanted.narrowing is not None:
        wanted.narrowing.groups[:] = groups
    return wanted


@pytest.mark.parametrize("way", ["index", "matrix"])
@pytest.mark.parametrize("rules", [(), RULES])
@pytest.mark.parametrize("leave_out", ["nothing", "purchased", "seen"])
@pytest.mark.parametrize("with_memory", [False, True])
def test_lists_are_the_best_that_qualify(request, monkeypatch, way, rules, leave_out, with_memory):
    draw, k, n = np.random.default_rng(4), 6, 24
    if with_memory:
        worker = worker_of(request.getfixturevalue("model"))
        worker.process(clicks())
        catalogue, ranker = worker.catalogue, worker.model
        memory = MemoryStep(worker.item_learning.learner)
    else:
        catalogue, ranker, memory = Catalogue(FakeModel()), FakeModel(), None
    items = 200  # of which the memory knows thirty
    catalogue.apply([ItemChange(f"i{i}", labelled(i)) for i in range(items)])
    catalogue.apply([ItemChange("i11", labelled(11, available=False))])
    queries = torch.randn(n, ranker.dim, generator=torch.Generator().manual_seed(1))
    recent = draw.integers(-1, items, (n, 5))
    types = draw.choice([EVENT_TYPE_INDEX[EventType.VIEW], EVENT_TYPE_INDEX[EventType.PURCHASE]],
                        (n, 5)).astype(np.uint8)  # fmt: skip
    surfaces = surfaces_of(n)
    settings = PolicySettings(restrictions=(SHOES, NO_HOME), rules=rules, leave_out=leave_out)
    whole = rank(queries, recent, catalogue, ranker, items, memory=memory)
    if way == "matrix":
        monkeypatch.setattr(Catalogue, "index", None)
    policy = batch_policy(Policy.of(settings, catalogue, k), recent, types, surfaces)
    found = rank(queries, recent, catalogue, ranker, k, memory=memory, policy=policy)
    bought = types == EVENT_TYPE_INDEX[EventType.PURCHASE]
    left_out = [
        set() if leave_out == "nothing" else set(row[where | (leave_out == "seen")].tolist())
        for row, where in zip(recent, bought, strict=True)
    ]
    expected = expected_lists(whole, surfaces, left_out, k, rules=bool(rules))
    assert found.rows.tolist() == expected
    full = [row for row in expected if NO_ITEM not in row]
    assert len(full) > n / 2
    scores = {
        (q, row): score
        for q in range(n)
        for row, score in zip(whole.rows[q].tolist(), whole.scores[q].tolist(), strict=True)
    }
    for q, (rows, values) in enumerate(zip(found.rows, found.scores, strict=True)):
        for row, value in zip(rows.tolist(), values.tolist(), strict=True):
            if row != NO_ITEM:
                more = amount(row) if rules else 0.0
                assert value == pytest.approx(scores[q, row] + more, abs=1e-5)


@pytest.mark.parametrize("leave_out", ["purchased", "seen"])
@pytest.mark.parametrize("batch", [1, 9, 1000])
def test_batches_give_what_one_event_at_a_time_gives(leave_out, batch):
    """What an event's list leaves out is what was known at that event, not after the batch."""
    events = streams(users=15, seed=5)
    policy = PolicySettings(leave_out=leave_out)
    worker = Worker(policy=policy)
    for start in range(0, len(events), batch):
        worker.process(events[start : start + batch], first_offset=start)
    answers = worker.journal.recommendations()
    out: dict[str, list[str]] = {}
    kinds = {EventType.PURCHASE} if leave_out == "purchased" else {
        EventType.VIEW, EventType.CLICK, EventType.PURCHASE}  # fmt: skip
    dropped = 0
    for e, answer in zip(events, answers, strict=True):
        if e.type in kinds:
            out.setdefault(e.user_id, []).append(e.item_id)
        listed = {i.item_id for i in answer.items}
        assert len(listed) == 5
        assert not listed & set(out.get(e.user_id, ()))
        dropped += len(out.get(e.user_id, ()))
    assert dropped > 40
    single = Worker(policy=policy)
    for start, e in enumerate(events):
        single.process([e], first_offset=start)
    same_lists(single.journal.recommendations(), answers)


def test_seen_reaches_as_far_as_the_events_that_are_kept():
    settings = WorkerSettings(top_k=5, recent_events=2)
    worker = Worker(policy=PolicySettings(leave_out="seen"), settings=settings, items=6)
    worker.process([event("u", n, f"i{n}") for n in range(4)])
    *_, last = worker.journal.recommendations()
    assert {i.item_id for i in last.items} == {"i0", "i1", "i4", "i5"}


def test_a_user_who_comes_back_is_known_to_have_bought():
    policy = PolicySettings(leave_out="purchased")
    first = Worker(policy=policy, items=8)
    bought = [event("u", n, f"i{n}", type=EventType.PURCHASE) for n in range(3)]
    first.process([*bought, event("u", 3, "i5")])
    again = Worker(policy=policy, items=8)
    states = {
        state.user_id: value
        for state, value in zip(
            first.journal.states().values(), first.journal.values("user-state")[-1:], strict=True
        )
    }
    again.users.store(0, states)
    again.process([event("u", 4, "i6")], first_offset=4)
    (answer,) = again.journal.recommendations()
    assert {i.item_id for i in answer.items} == {"i3", "i4", "i5", "i6", "i7"}


def test_an_event_is_answered_by_its_surface():
    policy = PolicySettings(
        restrictions=(SHOES, NO_HOME, Restriction(except_categories=("Shoestrings",)))
    )
    worker = Worker(policy=policy)
    worker.catalogue.apply([ItemChange(f"i{n}", labelled(n)) for n in range(30)])
    surfaces = surfaces_of(12)
    worker.process([event(f"u{n % 3}", n, f"i{n}", surface=s) for n, s in enumerate(surfaces)])
    for surface, answer in zip(surfaces, worker.journal.recommendations(), strict=True):
        numbers = [int(i.item_id[1:]) for i in answer.items]
        assert len(numbers) == 5
        assert all(permitted(surface, n) and n % 5 != 2 for n in numbers)


def test_a_list_is_as_long_as_what_qualifies():
    worker = Worker(policy=PolicySettings(restrictions=(SHOES,)), items=0)
    changes = [ItemChange(f"i{n}", labelled(n, categories=("Shoes",) if n < 3 else ()))
               for n in range(200)]  # fmt: skip
    worker.catalogue.apply(changes)
    worker.process([event("u", 0, "i100", surface="shoes-page"), event("u", 1, "i100")])
    shoes, anything = worker.journal.recommendations()
    assert {i.item_id for i in shoes.items} == {"i0", "i1", "i2"}
    assert len(anything.items) == 5


def test_items_that_come_change_and_move_are_listed_by_what_they_are_now():
    worker = Worker(policy=PolicySettings(restrictions=(SHOES,), rules=RULES), items=0)

    def shoes(number: int) -> list[str]:
        worker.process([event("u", number, "i1", surface="shoes-page")], first_offset=number)
        return sorted(i.item_id for i in worker.journal.recommendations()[-1].items)

    def put(*items: CatalogItem) -> None:
        worker.catalogue.apply([ItemChange(each.item_id, each) for each in items])

    assert shoes(0) == []
    # Across the capacity of every array there is.
    put(*[labelled(n, categories=("Home",)) for n in range(3000)])
    assert shoes(1) == []
    put(labelled(2999, categories=("Shoes",)), labelled(64, categories=("Shoes", "Boots")))
    assert shoes(2) == ["i2999", "i64"]
    put(labelled(2999, categories=("Home", "Shoes")), labelled(3000, categories=("Shoes",)))
    assert shoes(3) == ["i3000", "i64"]
    worker.catalogue.apply([ItemChange("i64", None)])
    assert shoes(4) == ["i3000"]
    put(labelled(64, categories=("Shoes",)))
    assert shoes(5) == ["i3000", "i64"]
    put(labelled(64, categories=("Shoes",), available=False))
    assert shoes(6) == ["i3000"]
    policy = worker.pipeline._policy._items
    rows = len(worker.catalogue.item_ids)
    again = Policy.of(worker.policy, worker.catalogue, 5)._items
    words = -(-rows // 64)
    np.testing.assert_array_equal(policy.allowed[:, : rows // 64], again.allowed[:, : rows // 64])
    np.testing.assert_array_equal(policy.added[:rows], again.added[:rows])
    assert policy.allowed.shape[1] >= words


def test_a_rule_for_an_item_that_comes_later_or_comes_back_holds():
    rules = (ScoreRule(item="i9", add=50.0),)
    worker = Worker(policy=PolicySettings(rules=rules), items=9)
    worker.process([event("u", 0)])
    worker.catalogue.apply([ItemChange("i9", item(9))])
    worker.process([event("u", 1)], first_offset=1)
    worker.catalogue.apply([ItemChange("i9", None)])
    worker.process([event("u", 2)], first_offset=2)
    worker.catalogue.apply([ItemChange("i9", item(9))])
    worker.process([event("u", 3)], first_offset=3)
    firsts = [answer.items[0] for answer in worker.journal.recommendations()]
    assert [first.item_id == "i9" for first in firsts] == [False, True, False, True]
    assert firsts[1].score > 40


def test_without_a_policy_nothing_is_asked_of_the_ranking():
    worker = Worker()
    assert Policy.of(PolicySettings(), worker.catalogue, 5) is None
    idle = PolicySettings(candidates=50, epsilon=0.5, posterior_scale=2.0, explore_from=3)
    assert Policy.of(idle, worker.catalogue, 5) is None
    assert Policy.of(PolicySettings(leave_out="seen"), worker.catalogue, 5) is not None
