"""A bundle of any size without training: real layout and modules, made-up weights.

What adapting and ranking cost depends on sizes, not on what was learned. The item vectors have
groups of similar items, and the item memory has met a stream of the same shop, so that neighbours,
candidates and ties are as many as in a real one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.bench.bag_of_words import write_bag_of_words
from worker.bench.shop import GROUP, Shop
from worker.item_memory.config import WINDOW, MemoryConfig
from worker.item_memory.history import previous_items
from worker.item_memory.memory import ItemMemory
from worker.model.bundle import TEXT_ENCODER, KnownItems, Provenance, write_bundle, write_memory
from worker.model.config import ModelConfig
from worker.model.meta_model import MetaRecommender
from worker.model.serving import ANCHORS

_TEXT_DIM = 32
_TEXT_WEIGHT = 0.1
_EVENTS_PER_ITEM = 4
_CUT_MS = 1_600_000_000_000
_WORDS = ("kind", "number", *"0123456789", *(f"##{digit}" for digit in range(10)))


def write_made_up_bundle(
    folder: Path,
    shop: Shop,
    *,
    dim: int = 96,
    rank: int = 8,
    anchors: int = 256,
    memory: bool = True,
    seed: int = 0,
) -> None:
    """Write a bundle that knows all items of a shop.

    Args:
        folder: to be made.
        shop: of the items.
        dim: width d of vectors and states.
        rank: columns r of the fast weight A.
        anchors: items M of the inner loop's softmax.
        memory: whether it has an item memory.
        seed: of every draw.
    """
    folder.mkdir(parents=True)
    write_bag_of_words(folder / TEXT_ENCODER, _WORDS, _TEXT_DIM, seed)
    config = ModelConfig(
        dim=dim,
        rank=rank,
        anchors=anchors,
        text_dim=_TEXT_DIM,
        memory=MemoryConfig() if memory else None,
    )
    torch.manual_seed(seed)
    model = MetaRecommender(config, len(shop.item_ids))
    vectors = _item_vectors(len(shop.item_ids), dim)
    _give_vectors(model, vectors)
    weights = dict(model.state_dict())
    weights[ANCHORS] = vectors[torch.randint(len(vectors), (anchors,))]
    counts = np.zeros(len(shop.item_ids), np.int64)
    drawn = shop.draw(_EVENTS_PER_ITEM * len(shop.item_ids), seed + 1)
    np.add.at(counts, drawn.items, 1)
    if memory:
        write_memory(folder, _memory(drawn.users, drawn.items), shop.item_ids)
    write_bundle(
        folder,
        model=config,
        weights=weights,
        items=KnownItems(item_ids=list(shop.item_ids), counts=counts.tolist()),
        provenance=Provenance(
            cut=1.0,
            cut_time=_CUT_MS,
            seed=seed,
            train_events=0,
            train_users=0,
            settings={"made_up": True},
        ),
        metrics={},
        created_at=_CUT_MS,
    )


def _item_vectors(items: int, dim: int) -> Tensor:
    """Return vectors, (items, dim), of mean norm 3: groups of similar ones, as `Shop` has them."""
    groups = -(-items // GROUP)
    centres = torch.randn(groups, dim)
    vectors = centres[torch.arange(items) % groups] + 0.7 * torch.randn(items, dim)
    scaled: Tensor = vectors * (3.0 / vectors.norm(dim=1).mean())
    return scaled


def _give_vectors(model: MetaRecommender, vectors: Tensor) -> None:
    """Make these, (items, dim), the vectors of the items, but for a little of their text."""
    with torch.no_grad():
        model.items.id_embedding.weight.copy_(vectors)
        model.items.text_projection.weight.mul_(_TEXT_WEIGHT)


def _memory(users: NDArray[np.int64], items: NDArray[np.int64]) -> ItemMemory:
    memory = ItemMemory(MemoryConfig())
    rows = items.astype(np.int32)
    before = np.ascontiguousarray(previous_items(users.astype(np.int32), rows, WINDOW))
    times = _CUT_MS - 1000 * np.arange(len(rows), 0, -1, dtype=np.int64)
    memory.learn(rows, before, np.zeros(len(rows), np.int64), times)
    return memory
