"""Meta-training on a small world, and what validation adapts to."""

import numpy as np
import torch

from schemas.settings import TrainingSettings
from worker.data import EventLog
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


def trainer(log: EventLog, vectors: np.ndarray) -> MetaTrainer:
    return MetaTrainer(SETTINGS, log, vectors, seed=3, device=torch.device("cpu"))


def test_training_learns_to_tell_the_next_item() -> None:
    trained = trainer(walks(), texts()).train()
    losses = [epoch.loss for epoch in trained.epochs]
    assert losses[-1] < losses[0]
    assert trained.anchors.shape == (SETTINGS.anchors, SETTINGS.dim)
    assert trained.validation.n == 40 * 6


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
    return np.unique(made._streams._log.users)
