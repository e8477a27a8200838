"""The worker with a bundle's item memory: its lists are those that evaluation ranks by."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from test_pipeline import same_lists
from test_real_bundle import CONFIG, KNOWN, PROVENANCE, stream
from worker_parts import NOW_MS, Worker, event, item

import worker.item_memory.memory as memory_module
from schemas.catalog import item_text
from schemas.clickstream import EVENT_TYPE_INDEX, ClickstreamEvent, EventType
from schemas.errors import SettingsError
from schemas.settings import WorkerSettings
from worker.catalogue import Catalogue, ItemChange
from worker.data import EventLog, ItemTable
from worker.evaluation.adapted import AdaptedRecommender
from worker.evaluation.top_lists import TopLists
from worker.events_seen import EVENTS_SEEN_LABELS
from worker.item_memory.config import MemoryConfig
from worker.item_memory.memory import ItemMemory
from worker.item_memory.occurrences import occurrences
from worker.item_sharing.of_bundle import memory_source
from worker.model.bundle import TEXT_ENCODER, KnownItems, write_bundle, write_memory
from worker.model.meta_model import MetaRecommender
from worker.model.serving import ANCHORS, ServingModel
from worker.rows import NO_ITEM
from worker.stages.fold_kernel import recent_rows_of
from worker.stages.rank import MemoryStep, rank

ITEMS = 30
LATE = "i30"
"""An item that the memory knows and the catalogue does not hold at first."""

REFRESH = 5

CUT_TIME = NOW_MS - 2 * 86_400_000
MEMORY = MemoryConfig(
    neighbours=5, recent=4, trending=4, dense=5, trend_half_life=7200.0, half_life=86_400.0
)


@pytest.fixture(autouse=True, scope="module")
def _what_trends_changes_often() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_module, "_REFRESH", REFRESH)
        yield


def training_log() -> EventLog:
    """Events before the cut, also on the item that is late."""
    draw = np.random.default_rng(3)
    n = 150
    return EventLog(
        users=draw.integers(0, 12, n, np.int32),
        items=draw.integers(0, ITEMS + 1, n, np.int32),
        types=np.zeros(n, np.int8),
        times=CUT_TIME - 60_000 * np.arange(n, 0, -1, dtype=np.int64),
        user_ids=[f"old{n}" for n in range(12)],
    )


@pytest.fixture(scope="module")
def model(text_encoder_folder: Path, tmp_path_factory) -> ServingModel:
    folder = tmp_path_factory.mktemp("bundle")
    shutil.copytree(text_encoder_folder, folder / TEXT_ENCODER)
    config = msgspec.structs.replace(CONFIG, memory=MEMORY)
    torch.manual_seed(5)
    network = MetaRecommender(config, len(KNOWN))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    log = training_log()
    memory = ItemMemory(MEMORY)
    events = occurrences(log, np.zeros(len(log), np.bool_), MEMORY.recent)
    memory.learn_and_collect(events, np.full((len(log), 1), NO_ITEM, np.int32))
    write_memory(folder, memory, [f"i{n}" for n in range(ITEMS + 1)])
    write_bundle(
        folder,
        model=config,
        weights={**network.state_dict(), ANCHORS: torch.randn(CONFIG.anchors, CONFIG.dim)},
        items=KnownItems(item_ids=KNOWN, counts=list(range(len(KNOWN)))),
        provenance=msgspec.structs.replace(PROVENANCE, cut_time=CUT_TIME),
        metrics={},
        created_at=1,
    )
    return ServingModel.load(folder, "cpu", threads=1)


def worker_of(model: ServingModel) -> Worker:
    return Worker(model=model, item_memory=memory_source(model, WorkerSettings()), items=ITEMS)


def run(model: ServingModel, events: list[ClickstreamEvent], batch: int) -> Worker:
    worker = worker_of(model)
    for first in range(0, len(events), batch):
        worker.process(events[first : first + batch], first_offset=first)
    return worker


def clicks(users: int = 4, length: int = 20, items: int = ITEMS, seed: int = 6):
    """Users side by side, each event a minute after the one before, whoever's that was."""
    draw = np.random.default_rng(seed)
    kinds = [EventType.VIEW, EventType.CLICK, EventType.PURCHASE]
    return [
        event(
            f"u{draw.integers(users)}",
            n,
            f"i{draw.integers(items)}",
            event_id=f"e{n}",
            type=kinds[int(draw.integers(3))],
        )
        for n in range(length)
    ]


def evaluated_lists(
    model: ServingModel, events: list[ClickstreamEvent], items: int, k: int
) -> list[list[str]]:
    """Return what `AdaptedRecommender` would rank the same user's next event by, after each."""
    table = ItemTable([f"i{n}" for n in range(items)], [item_text(item(n)) for n in range(items)])
    train = training_log()
    train = train.where(train.items < items)
    users = sorted({e.user_id for e in events})
    ids = [*train.user_ids, *users]
    recommender = AdaptedRecommender(model, table)
    lists = []
    for now in range(1, len(events) + 1):
        past = [*events[:now], events[now - 1]]
        log = EventLog(
            np.array([ids.index(e.user_id) for e in past], np.int32),
            np.array([int((e.item_id or "")[1:]) for e in past], np.int32),
            np.array([EVENT_TYPE_INDEX[e.type] for e in past], np.int8),
            np.array([e.time for e in past]),
            ids,
        )
        everybody = np.ones(len(past), np.bool_)  # is new
        top = TopLists(everybody)
        recommender.prequential_ranks(train, log, everybody, items, top)
        lists.append([f"i{code}" for code in top.lists()[-1][:k]])
    return lists


def published(worker: Worker) -> list[list[str]]:
    return [[i.item_id for i in r.items] for r in worker.journal.recommendations()]


def comparable(lists: list[list[str]], first: int = 0) -> list[list[str]]:
    """Leave out the answers to events after which what trends is determined anew.

    The worker answers them just before that, evaluation ranks just after.
    """
    return [entry for n, entry in enumerate(lists, start=first + 1) if n % REFRESH]


@pytest.fixture(scope="module")
def expected(model) -> list[list[str]]:
    return evaluated_lists(model, clicks(), ITEMS, 5)


@pytest.mark.parametrize("batch", [1, 6, 1000])
def test_published_lists_are_those_that_evaluation_ranks_by(model, expected, batch):
    worker = run(model, clicks(), batch)
    assert comparable(published(worker)) == comparable(expected)
    assert len({tuple(entry) for entry in expected}) > 10


def test_the_memory_makes_a_difference_to_the_lists(model, expected):
    without = Worker(model=model, items=ITEMS)
    without.process(clicks())
    assert sum(a != b for a, b in zip(published(without), expected, strict=True)) > 10


@pytest.mark.parametrize("batch", [7, 1000])
def test_batches_give_what_one_event_at_a_time_gives(model, batch):
    events = stream(users=7, length=8)  # searches, too
    single, batched = run(model, events, 1), run(model, events, batch)
    same_lists(single.journal.recommendations(), batched.journal.recommendations())
    for one, other in zip(
        single.item_learning.learner.arrays, batched.item_learning.learner.arrays, strict=True
    ):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("at", [1, 9, 18])
def test_a_list_never_knows_the_events_after_it(model, expected, at):
    events = clicks()
    for n in range(at, len(events)):
        other = f"i{(int((events[n].item_id or '')[1:]) + 7) % ITEMS}"
        events[n] = msgspec.structs.replace(events[n], item_id=other)
    lists = published(run(model, events, 1000))
    assert comparable(lists[:at]) == comparable(expected[:at])
    assert lists[at:] != expected[at:]


def test_an_item_known_before_it_is_in_the_catalogue_is_recommended_only_once_it_is(model):
    worker = worker_of(model)
    assert worker.catalogue.row(LATE) == NO_ITEM
    row = worker.catalogue.reserve(LATE)
    memory = worker.item_learning.learner
    assert memory.arrays.visits.values[row] > 0
    events = clicks(length=12)
    worker.process(events)
    assert not any(LATE in entry for entry in published(worker))
    worker.catalogue.apply([ItemChange(LATE, item(ITEMS))])
    assert worker.catalogue.row(LATE) == row
    more = [
        msgspec.structs.replace(e, item_id=LATE if n % 3 == 0 else e.item_id)
        for n, e in enumerate(clicks(length=24)[12:])
    ]
    worker.process(more, first_offset=12)
    # As if it had been there from the first.
    expected = evaluated_lists(model, [*events, *more], ITEMS + 1, 5)[12:]
    assert comparable(published(worker)[12:], first=12) == comparable(expected, first=12)
    assert any(LATE in entry for entry in expected)


def test_a_removed_item_is_not_recommended_and_its_memory_is_gone(model):
    worker = worker_of(model)
    worker.process(clicks())
    listed = published(worker)[-1][0]
    row = worker.catalogue.row(listed)
    worker.catalogue.apply([ItemChange(listed, None)])
    memory = worker.item_learning.learner
    assert memory.arrays.followers.size[row] == 0
    worker.process(clicks(seed=7), first_offset=100)
    assert not any(listed in entry for entry in published(worker)[20:])


def test_nothing_is_recommended_from_a_catalogue_without_an_available_item(model):
    worker = Worker(model=model, item_memory=memory_source(model, WorkerSettings()), items=0)
    worker.process([event("u", n, f"i{n}") for n in range(3)])
    assert published(worker) == [[], [], []]


def test_ranking_without_transitions_teaches_the_memory_nothing(model):
    worker = run(model, clicks(), 1000)
    memory = worker.item_learning.learner
    before = [np.copy(array) for part in memory.arrays for array in part]
    revision = memory.revision
    assert revision >= len(clicks()) // REFRESH
    slots = torch.tensor([user.slot for user in worker.arena])
    queries = model.queries(worker.arena.gather(slots))
    slots = np.array([user.slot for user in worker.arena])
    recent = np.full((len(slots), 8), NO_ITEM)
    recent_rows_of(worker.arena.columns, slots, recent)
    lists = [
        rank(queries, recent, worker.catalogue, model, 5, memory=MemoryStep(memory)).rows
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*lists)
    after = [array for part in memory.arrays for array in part]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
    assert memory.revision == revision


@pytest.mark.parametrize("batch", [1, 1000])
def test_chunks_of_a_ranking_change_neither_lists_nor_what_is_learned(model, monkeypatch, batch):
    whole = run(model, clicks(), batch)
    monkeypatch.setattr("worker.stages.rank_by_index._AT_ONCE", 3)
    chunked = run(model, clicks(), batch)
    same_lists(whole.journal.recommendations(), chunked.journal.recommendations())


@pytest.mark.parametrize("batch", [1, 7])
def test_the_index_ranks_as_scoring_every_item_does(model, monkeypatch, batch):
    by_index = run(model, clicks(users=6), batch)
    monkeypatch.setattr(Catalogue, "index", None)
    by_matrix = run(model, clicks(users=6), batch)
    same_lists(by_index.journal.recommendations(), by_matrix.journal.recommendations())


def test_a_bundle_without_a_memory_opens_none(text_encoder_folder, tmp_path):
    shutil.copytree(text_encoder_folder, tmp_path / TEXT_ENCODER)
    network = MetaRecommender(CONFIG, len(KNOWN))
    write_bundle(
        tmp_path,
        model=CONFIG,
        weights={**network.state_dict(), ANCHORS: torch.randn(CONFIG.anchors, CONFIG.dim)},
        items=KnownItems(item_ids=KNOWN, counts=[1] * len(KNOWN)),
        provenance=PROVENANCE,
        metrics={},
        created_at=1,
    )
    model = ServingModel.load(tmp_path, "cpu", threads=1)
    assert memory_source(model, WorkerSettings()) is None


def test_a_worker_that_keeps_too_few_events_for_the_memory_is_told_so(model):
    with pytest.raises(SettingsError, match=r"worker\.recent_events is 5; .* at least that many"):
        memory_source(model, WorkerSettings(recent_events=5))
    assert memory_source(model, WorkerSettings(recent_events=6)) is not None


@pytest.mark.parametrize("batch", [1, 1000])
def test_live_quality_is_of_lists_that_do_not_know_the_events_they_are_tested_on(
    model, monkeypatch, batch
):
    worker = worker_of(model)
    events = clicks(users=12)
    memory, live = worker.item_learning.learner, worker.pipeline._prequential
    known, rank_live = [], live._rank

    def watched(queries, recent, types):
        known.append(float(memory.arrays.trend.times.max()) * 1000)
        return rank_live(queries, recent, types)

    monkeypatch.setattr(live, "_rank", watched)
    for first in range(0, len(events), batch):
        part = events[first : first + batch]
        asked = len(known)
        worker.process(part, first_offset=first)
        assert all(time < part[0].time for time in known[asked:])
    # Of whom no event is known yet, the list is ranked again whenever what trends may have changed.
    assert len(set(known)) == (1 if batch == 1000 else 4)
    tested = sum(
        worker.sample("innerloop_prequential_events_total", events_seen=label)
        for label in EVENTS_SEEN_LABELS
    )
    assert tested == len(events)
