"""The worker around a real bundle: real text encoder, the model's own modules, weights drawn."""

import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from test_pipeline import same_lists
from test_restore import restored
from worker_parts import Worker, event

from schemas.clickstream import EVENT_TYPE_INDEX, EventType
from schemas.codec import encode_state
from schemas.settings import WorkerSettings
from worker.model.bundle import TEXT_ENCODER, KnownItems, Provenance, write_bundle
from worker.model.config import ModelConfig
from worker.model.meta_model import MetaRecommender
from worker.model.serving import ANCHORS, ServingModel

KNOWN = [f"i{n}" for n in range(20)]  # of the worker's 30 items: ten are known by text alone
CONFIG = ModelConfig(dim=16, rank=4, anchors=32)
PROVENANCE = Provenance(
    events_file="events.csv",
    events_sha256="0" * 64,
    items_file="items.csv",
    items_sha256="1" * 64,
    cut=0.75,
    cut_time=1,
    seed=0,
    train_events=2,
    train_users=1,
    settings={},
)


@pytest.fixture(scope="module")
def network() -> MetaRecommender:
    """The modules with every parameter drawn, none at zero."""
    torch.manual_seed(5)
    network = MetaRecommender(CONFIG, len(KNOWN))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network.requires_grad_(False)


@pytest.fixture(scope="module")
def model(network, text_encoder_folder: Path, tmp_path_factory) -> ServingModel:
    folder = tmp_path_factory.mktemp("bundle")
    shutil.copytree(text_encoder_folder, folder / TEXT_ENCODER)
    anchors = torch.randn(CONFIG.anchors, CONFIG.dim, generator=torch.Generator().manual_seed(6))
    write_bundle(
        folder,
        model=CONFIG,
        weights={**network.state_dict(), ANCHORS: anchors},
        items=KnownItems(item_ids=KNOWN, counts=list(range(len(KNOWN)))),
        provenance=PROVENANCE,
        metrics={},
        created_at=1,
    )
    return ServingModel.load(folder, "cpu", threads=1)


def stream(users: int, length: int, seed: int = 8):
    draw = np.random.default_rng(seed)
    kinds = [EventType.VIEW, EventType.CLICK, EventType.PURCHASE, EventType.REVIEW]
    events = []
    for n in range(length):
        for u in draw.permutation(users):
            kind = kinds[int(draw.integers(4))]
            if draw.random() < 0.1:
                query = f"thing number {draw.integers(30)}"
                events.append(event(f"u{u}", n, None, type=EventType.SEARCH, query=query))
            else:
                events.append(event(f"u{u}", n, f"i{draw.integers(30)}", type=kind))
    return events


def run(model: ServingModel, events, batch: int, **settings: int) -> Worker:
    worker = Worker(model=model, settings=WorkerSettings(top_k=5, recent_events=8, **settings))
    for first in range(0, len(events), batch):
        worker.process(events[first : first + batch], first_offset=first)
    return worker


def test_batches_give_what_one_event_at_a_time_gives(model):
    events = stream(users=9, length=8)
    single, batched = run(model, events, 1), run(model, events, 50)
    same_lists(single.journal.recommendations(), batched.journal.recommendations())
    for user, state in single.journal.states().items():
        twin = batched.journal.states()[user]
        assert state == twin


def test_the_worker_runs_the_stream_that_training_unrolls(model, network):
    worker = Worker(model=model)
    events = [e for e in stream(users=1, length=12) if e.item_id is not None]
    rows = [worker.catalogue.row(e.item_id) for e in events]
    vectors = worker.catalogue.vectors[rows].clone()
    types = torch.tensor([EVENT_TYPE_INDEX[e.type] for e in events])
    times = torch.tensor([e.time for e in events])
    gaps = torch.cat([torch.tensor([-1.0]), times.diff() / 1000.0])
    # One event more, as the unrolled queries are those before each event.
    padded = [torch.cat([column, column[-1:]]).unsqueeze(0) for column in (vectors, types, gaps)]
    expected = network.unroll(*padded, model._anchors)[0, 1:]
    users = model.start(1)
    for step, target in enumerate(vectors):
        at = slice(step, step + 1)
        users, _, _ = model.adapt(users, target.unsqueeze(0), types[at], gaps[at])
        torch.testing.assert_close(model.queries(users)[0], expected[step], atol=1e-5, rtol=1e-5)
    worker.process(events)  # the same, but for what the arena rounds after each step
    slot = torch.tensor([worker.arena.get("u0").slot])
    query = model.queries(worker.arena.gather(slot))[0]
    torch.testing.assert_close(query, expected[-1], atol=0.05, rtol=0)
    scores = worker.catalogue.vectors @ expected.T
    for step, answer in enumerate(worker.journal.recommendations()):
        shifted = scores[:, step : step + 1].T.clone()
        recent = torch.tensor([list(reversed(rows[: step + 1]))[: worker.settings.recent_events]])
        model.shift_repeats(shifted, recent)
        best = shifted[0].topk(5).values.tolist()
        assert [i.score for i in answer.items] == pytest.approx(best, abs=0.1)


def test_a_restored_worker_goes_on_as_if_never_stopped(model):
    events = stream(users=5, length=10)
    half = len(events) // 2
    steady = run(model, events, 30)
    stopped = run(model, events[:half], 30)
    later = restored(stopped, into=Worker(model=model))
    later.process(events[half:], first_offset=half)
    found = {r.caused_by: r for r in later.journal.recommendations()}
    expected = [r for r in steady.journal.recommendations() if r.caused_by in found]
    assert len(expected) == len(events) - half
    same_lists([found[r.caused_by] for r in expected], expected)


def test_users_who_left_the_arena_come_back_to_the_bit(model):
    events = stream(users=9, length=8)
    roomy, tight = run(model, events, 4), run(model, events, 4, resident_users=2)
    assert tight.sample("innerloop_user_moves_total", move="returned") > 30
    assert tight.journal.states() == roomy.journal.states()
    same_lists(tight.journal.recommendations(), roomy.journal.recommendations())


def test_a_bundle_that_replaces_another_adapts_its_users_again(model):
    events = stream(users=4, length=6)
    old = run(model, events, 100)
    renamed = [
        msgspec.structs.replace(state, model_version="an older bundle", arrays=b"")
        for state in old.journal.states().values()
    ]
    new = Worker(model=model)
    records = [(s.user_id.encode(), encode_state(s)) for s in renamed]
    assert new.loader.load(records, 0, 1 << 40) == {"adapted_again": 4}
    new.bring_in(*(user.user_id for user in old.arena))
    for user in new.arena:
        twin = old.arena.get(user.user_id)
        arrays = [w.arena.gather(torch.tensor([u.slot])) for w, u in ((new, user), (old, twin))]
        torch.testing.assert_close(arrays[0].bias, arrays[1].bias, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(arrays[0].hidden, arrays[1].hidden, atol=1e-5, rtol=1e-5)
