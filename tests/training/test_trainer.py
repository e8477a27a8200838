"""Meta-training on a small world, and what validation adapts to."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from schemas.settings import TrainingSettings
from worker.data import EventLog
from worker.model.meta_model import MetaRecommender
from worker.training.batch_size import batch_size
from worker.training.sequences import UserStreams
from worker.training.trained import TrainedModel
from worker.training.trainer import MetaTrainer

SETTINGS = TrainingSettings(
    dim=8, rank=2, anchors=16, epochs=4, batch_users=16, negatives=64, validation_users=0.2
)
ITEMS = 30


def walks(users: int = 200, length: int = 6) -> EventLog:
    """Users who each walk along a ring of items from a start of their own."""
    rng = np.random.default_rng(0)
    starts = rng.integers(0, ITEMS, users)
    return EventLog(
        users=np.repeat(np.arange(users, dtype=np.int32), length),
        items=((starts[:, None] + np.arange(length)) % ITEMS).astype(np.int32).ravel(),
        types=np.zeros(users * length, np.int8),
        times=np.arange(users * length, dtype=np.int64) * 1000,
        user_ids=[str(user) for user in range(users)],
    )


def texts(seed: int = 1, items: int = ITEMS + 1) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(items, 12)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def trainer(
    log: EventLog,
    vectors: np.ndarray,
    settings: TrainingSettings = SETTINGS,
    *,
    validate: bool = True,
    categories: list[str] | None = None,
) -> MetaTrainer:
    return MetaTrainer(
        settings,
        log,
        vectors,
        seed=3,
        device=torch.device("cpu"),
        validate=validate,
        categories=categories,
    )


def test_training_learns_to_tell_the_next_item() -> None:
    settings = SETTINGS.model_copy(update={"memory": False, "refit": False})
    trained = trainer(walks(), texts(), settings).train()
    assert trained.memory is None
    assert trained.model.mixer is None
    losses = [epoch.loss for epoch in trained.epochs]
    assert losses[-1] < losses[0]
    assert trained.anchors.shape == (SETTINGS.anchors, SETTINGS.dim)
    assert trained.validation.n == 40 * 6


@pytest.fixture(scope="module")
def log() -> EventLog:
    return by_time(walks())


@pytest.fixture(scope="module")
def with_memory(log: EventLog) -> tuple[MetaTrainer, TrainedModel]:
    made = trainer(log, texts())
    return made, made.train()


def by_time(log: EventLog) -> EventLog:
    """Return the users' walks side by side: each begins a little after the one before."""
    step = np.arange(len(log)) % 6
    times = 1000 * (10 * log.users.astype(np.int64) + 65 * step)
    order = np.argsort(times, kind="stable")
    return EventLog(
        log.users[order], log.items[order], log.types[order], times[order], log.user_ids
    )


def test_the_item_memory_learns_from_all_users_and_is_mixed_in(log, with_memory) -> None:
    made, trained = with_memory
    assert trained.memory is not None
    assert trained.memory.arrays.visits.values.sum() == len(log)
    # What follows an item in these walks is the next one: the memory cannot but know it.
    followers = trained.memory.arrays.followers
    for item in range(ITEMS):
        size = followers.size[item]
        strongest = followers.items[item, followers.weights[item, :size].argmax()]
        assert strongest == (item + 1) % ITEMS
    # Of the held-out users a fifth is kept from the mixer's fit, and their early events are left
    # out: then the memory was emptier than it is in serving.
    assert 0 < trained.validation.n <= 8 * 6
    hit_rates = [epoch.validation.hit_rate or 0.0 for epoch in trained.epochs]
    assert (trained.validation.reciprocal_rank or 0.0) > 0.8
    assert (trained.validation.hit_rate or 0.0) >= max(hit_rates)
    assert made.model.mixer is not None
    assert made.model.mixer.output.weight.abs().max() > 0


def test_training_again_gives_the_same_model(log, with_memory) -> None:
    _, first = with_memory
    again = trainer(log, texts()).train()
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name
    assert again.validation == first.validation


def test_refitting_trains_on_everybody_and_keeps_what_was_fitted_on_new_users(
    log, with_memory
) -> None:
    made, first = with_memory
    everybody = trainer(log, texts(), validate=False)
    assert set(_training_users(everybody)) == set(range(200))
    assert len(_training_users(made)) == 160
    start = {name: value.clone() for name, value in everybody.model.state_dict().items()}
    losses: list[float] = []
    refitted = everybody.refit(first, losses.append)
    assert len(losses) == first.best_epoch * everybody.batches_per_epoch
    assert refitted.counts.tolist() == [*np.bincount(log.items).tolist(), 0]
    assert refitted.counts.sum() > first.counts.sum()
    assert refitted.memory is first.memory
    assert refitted.validation == first.validation
    assert refitted.epochs == first.epochs
    assert refitted.model is everybody.model
    state, fitted = refitted.model.state_dict(), first.model.state_dict()
    for name, value in state.items():
        if name.startswith(("repeat.", "mixer.")):
            assert torch.equal(value, fitted[name]), name
    trained = ("items.", "session.", "inner_loop.")
    assert {name.split(".")[0] + "." for name in state} == {*trained, "repeat.", "mixer."}
    for part in trained:
        names = [name for name in state if name.startswith(part)]
        assert any(not torch.equal(state[name], start[name]) for name in names)
        assert any(not torch.equal(state[name], fitted[name]) for name in names)
    assert refitted.anchors.shape == first.anchors.shape
    vectors = everybody._known_vectors()
    assert torch.equal(refitted.anchors, everybody._draw_anchors(vectors))


def test_refitting_stops_after_the_best_epoch(log, with_memory) -> None:
    _, first = with_memory
    epochs = [replace(epoch, best=epoch.number <= 2) for epoch in first.epochs]
    assert len(epochs) > 2
    everybody = trainer(log, texts(), validate=False)
    losses: list[float] = []
    everybody.refit(replace(first, epochs=epochs), losses.append)
    assert len(losses) == 2 * everybody.batches_per_epoch


def test_no_more_events_are_held_out_than_allowed(log) -> None:
    users, plain = set(range(200)), trainer(log, texts())
    held_out = users - set(_training_users(plain))
    for most, expected in ((100, 16), (6, 1), (1, 1), (100_000, 40)):
        made = trainer(log, texts(), SETTINGS.model_copy(update={"validation_events": most}))
        fewer = users - set(_training_users(made))
        assert len(fewer) == expected
        assert fewer <= held_out


def test_an_epoch_of_fewer_events_goes_on_where_the_one_before_ended(log, monkeypatch) -> None:
    settings = SETTINGS.model_copy(
        update={"epochs": 6, "patience": 6, "epoch_events": 320, "memory": False}
    )
    made = trainer(log, texts(), settings)
    streams: list[list[int]] = []
    whole = UserStreams.batches

    def recorded(self, size, rng=None):
        for batch, rows in self.batches_with_rows(size, rng):
            if rng is not None:
                streams.append(np.unique(log.users[~made._held_out][rows]).tolist())
            yield batch

    monkeypatch.setattr(UserStreams, "batches", recorded)
    losses: list[float] = []
    trained = made.train(losses.append)
    monkeypatch.setattr(UserStreams, "batches", whole)
    assert len(trained.epochs) == 6
    assert len(losses) == 6 * made.batches_per_epoch
    per_epoch = [
        [user for batch in streams[start : start + made.batches_per_epoch] for user in batch]
        for start in range(0, len(streams), made.batches_per_epoch)
    ]
    # 160 users of 6 events each: about 320 events are a third of them.
    assert [len(users) for users in per_epoch] == [53] * 6
    for first in (0, 3):
        assert len(set().union(*per_epoch[first : first + 3])) == 3 * 53
    assert set(per_epoch[0]) != set(per_epoch[3])


def test_an_item_unseen_in_training_is_adapted_to_through_its_own_text() -> None:
    log = walks()
    plain = trainer(log, texts())
    # The same users are held out whatever the items: their second event is on an unseen item now.
    held_out = ~np.isin(log.users, _training_users(plain))
    second = np.arange(len(log)) % 6 == 1
    log.items[held_out & second] = ITEMS

    def queries(vectors: np.ndarray) -> torch.Tensor:
        made = trainer(log, vectors)
        assert ITEMS not in made.known
        known = made.model.items(
            torch.from_numpy(vectors[made.known]),
            torch.arange(len(made.known)),
            torch.ones(len(made.known)),
        )
        return made.validation_cases(known.detach()).queries

    changed = texts()
    changed[ITEMS] = texts(seed=9)[ITEMS]
    before, after = queries(texts()), queries(changed)
    assert len(before) == int(held_out.sum()) * 5 // 6
    assert not torch.equal(before, after)


def _training_users(made: MetaTrainer) -> np.ndarray:
    return np.unique(made._log.users[~made._held_out])


def test_every_option_at_once_trains_and_leaves_no_task_heads_for_serving(log) -> None:
    options = {
        "inner_steps": 2,
        "type_steps": True,
        "timed_forgetting": True,
        "inner_temperature": True,
        "first_order": True,
        "meta_weight": 0.8,
        "crop": 0.3,
        "mask": 0.1,
        "noise": 0.1,
        "dropout": 0.1,
        "adversarial": 0.05,
        "type_weight": 0.1,
        "category_weight": 0.1,
        "purchase_weight": 0.1,
    }
    settings = SETTINGS.model_copy(update=options)
    shelves = [f"shelf {item // 10}" for item in range(ITEMS + 1)]
    trained = [trainer(log, texts(), settings, categories=shelves).train() for _ in range(2)]
    state = trained[0].model.serving_state()
    assert trained[0].model.tasks is not None
    assert not any(name.startswith("tasks.") for name in state)
    served = MetaRecommender(trained[0].model.config, len(trained[0].known))
    served.load_state_dict(state)
    again = trained[1].model.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in state.items())
    assert (trained[0].validation.reciprocal_rank or 0.0) > 0.6


@pytest.mark.parametrize(
    ("cases", "largest", "expected"),
    [(30_000, 128, 128), (8_192, 128, 128), (709, 128, 11), (20, 128, 8), (20, 4, 4)],
)
def test_few_cases_are_trained_on_in_small_batches(cases, largest, expected) -> None:
    assert batch_size(cases, largest, smallest=8) == expected
