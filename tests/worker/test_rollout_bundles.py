"""Real bundles: published by the command line, loaded, rehearsed and switched to, with memories."""

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from rollout_parts import ArmsWorker
from test_memory_bundle import training_log
from test_real_bundle import CONFIG, KNOWN, PROVENANCE
from worker_parts import NOW_MS, Worker, event

from schemas.clickstream import EventType
from schemas.settings import Settings, WorkerSettings
from worker.item_memory.config import MemoryConfig
from worker.item_memory.memory import ItemMemory
from worker.item_memory.occurrences import occurrences
from worker.item_sharing.of_bundle import memory_source
from worker.model.bundle import TEXT_ENCODER, KnownItems, write_bundle, write_memory
from worker.model.meta_model import MetaRecommender
from worker.model.serving import ANCHORS
from worker.rollout.loading import LoadedModel, ModelShelf, bundle_loader
from worker.rollout.reference import reference_of
from worker.rollout.rehearsal import rehearse
from worker.rows import NO_ITEM

CUT_TIME = NOW_MS - 2 * 86_400_000
MEMORY = MemoryConfig(neighbours=5, recent=4, trending=4, dense=5)
SETTINGS = WorkerSettings(device="cpu", threads=1, top_k=5, recent_events=8)


def write_real_bundle(folder: Path, encoder: Path, seed: int, *, memory: bool) -> Path:
    folder.mkdir()
    shutil.copytree(encoder, folder / TEXT_ENCODER)
    config = msgspec.structs.replace(CONFIG, memory=MEMORY if memory else None)
    torch.manual_seed(seed)
    network = MetaRecommender(config, len(KNOWN))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    if memory:
        log = training_log()
        learned = ItemMemory(MEMORY)
        events = occurrences(log, np.zeros(len(log), np.bool_), MEMORY.recent)
        learned.learn_and_collect(events, np.full((len(log), 1), NO_ITEM, np.int32))
        write_memory(folder, learned, [f"i{n}" for n in range(31)])
    write_bundle(
        folder,
        model=config,
        weights={**network.state_dict(), ANCHORS: torch.randn(CONFIG.anchors, CONFIG.dim)},
        items=KnownItems(item_ids=KNOWN, counts=list(range(len(KNOWN)))),
        provenance=msgspec.structs.replace(PROVENANCE, cut_time=CUT_TIME),
        metrics={},
        created_at=1,
    )
    return folder


@pytest.fixture(scope="module")
def loaded(text_encoder_folder, tmp_path_factory) -> dict[str, LoadedModel]:
    """Two bundles with a memory and one without, as a worker loads them."""
    home = tmp_path_factory.mktemp("bundles")
    shelf = ModelShelf(bundle_loader(SETTINGS), None)
    found = {}
    for seed, name in enumerate(("first", "second", "without")):
        folder = write_real_bundle(home / name, text_encoder_folder, seed, memory=name != "without")
        found[name] = shelf.load(reference_of(folder))
    return found


def clicks(first: int, last: int):
    draw = np.random.default_rng(4)
    kinds = [EventType.VIEW, EventType.CLICK, EventType.PURCHASE]
    events = [
        event(f"u{draw.integers(5)}", n, f"i{draw.integers(30)}", event_id=f"e{n}",
              type=kinds[int(draw.integers(3))])
        for n in range(last)
    ]  # fmt: skip
    return events[first:]


def arms_of(loaded: LoadedModel) -> ArmsWorker:
    return ArmsWorker(model=loaded.model, settings=SETTINGS, memory=loaded.memory)


def lists(recommendations) -> dict[str, list[str]]:
    return {r.caused_by: [i.item_id for i in r.items] for r in recommendations}


def test_each_passes_its_rehearsal(loaded):
    for each in loaded.values():
        rehearse(each, Settings(worker=SETTINGS))


def test_the_memory_that_learned_live_is_gone_on_with(loaded):
    """What a restart would read back from the topic is there without one."""
    switched = arms_of(loaded["first"])
    switched.process(clicks(0, 40))
    memory = switched.item_learning.learner
    before = memory.arrays.visits.values.sum()
    switched.form(loaded["second"])
    switched.process(clicks(40, 60), first_offset=40)
    assert switched.item_learning.learner is memory
    assert memory.arrays.visits.values.sum() > before
    second = loaded["second"]
    restarted = Worker(
        model=second.model,
        settings=SETTINGS,
        item_memory=memory_source(second.model, SETTINGS),
    )
    learned = Worker(
        model=loaded["first"].model, settings=SETTINGS, item_memory=loaded["first"].memory
    )
    learned.process(clicks(0, 40))
    states = [(r.key, r.value) for r in learned.journal.records if r.topic == "user-state"]
    restarted.item_learning.learner.__dict__.update(learned.item_learning.learner.__dict__)
    restarted.loader.load(states, 0, 40)
    restarted.process(clicks(40, 60), first_offset=40)
    answers = switched.journal.recommendations()[40:]
    assert lists(answers) == lists(restarted.journal.recommendations())
    assert {r.model_version for r in answers} == {second.model.version}


def test_a_bundle_without_memory_ranks_without_and_the_memory_goes_on_learning(loaded):
    switched = arms_of(loaded["first"])
    switched.process(clicks(0, 20))
    switched.form(loaded["without"])
    before = switched.item_learning.learner.arrays.visits.values.sum()
    switched.process(clicks(20, 40), first_offset=20)
    assert switched.item_learning.learner.arrays.visits.values.sum() == before + 20
    plain = Worker(model=loaded["without"].model, settings=SETTINGS)
    states = [(r.key, r.value) for r in switched.journal.records if r.topic == "user-state"]
    plain.loader.load(states[: len({r[0] for r in states})], 0, 20)
    plain.process(clicks(20, 40), first_offset=20)
    assert lists(switched.journal.recommendations()[20:]) == lists(plain.journal.recommendations())
