"""A small generated shop, as files, and a bundle around it with weights that are drawn."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import torch

from worker.data import EventLog
from worker.item_memory.config import MemoryConfig
from worker.item_memory.memory import ItemMemory
from worker.item_memory.occurrences import occurrences
from worker.model.bundle import (
    TEXT_ENCODER,
    HeldOut,
    KnownItems,
    Provenance,
    write_bundle,
    write_memory,
)
from worker.model.config import ModelConfig
from worker.model.meta_model import MetaRecommender
from worker.model.serving import ANCHORS
from worker.rows import NO_ITEM

USERS = 120
ITEMS = 40
KNOWN = 32
"""Items that the bundle knows by more than their text."""

CONFIG = ModelConfig(dim=8, rank=2, anchors=16)
MEMORY = MemoryConfig(
    neighbours=4, recent=6, trending=5, dense=4, trend_half_life=600.0, half_life=3000.0
)


def write_files(folder: Path, seed: int = 0, *, pause: int = 7) -> tuple[Path, Path, Path]:
    """Write events, items and users; each event is on an item near the one before.

    A new user comes each minute; `pause` seconds are between a user's events.
    """
    draw = np.random.default_rng(seed)
    rows = []
    for user in range(USERS):
        start, item = 60 * user, int(draw.integers(ITEMS))
        for step in range(int(draw.integers(1, 12))):
            rows.append((f"u{user}", f"i{item}", "view", start + pause * step))
            item = (item + int(draw.integers(0, 4))) % ITEMS
    events, items, users = (folder / f"{name}.csv" for name in ("events", "items", "users"))
    columns = ["user_id", "item_id", "event_type", "timestamp"]
    pl.DataFrame(rows, columns, orient="row").write_csv(events)
    pl.DataFrame(
        {
            "item_id": [f"i{n}" for n in range(ITEMS)],
            "title": [f"thing number {n // 2}" for n in range(ITEMS)],
        }
    ).write_csv(items)
    pl.DataFrame(
        {
            "user_id": [f"u{n}" for n in range(USERS)],
            "country": [("NL", "BE")[n % 2] for n in range(USERS)],
        }
    ).write_csv(users)
    return events, items, users


def write_drawn_bundle(
    folder: Path,
    text_encoder: Path,
    seed: int = 0,
    *,
    taught: EventLog | None = None,
    held_out: HeldOut | None = None,
) -> Path:
    """Write a bundle whose weights are drawn, none at zero: untrained, and real otherwise.

    Args:
        folder: to be made.
        text_encoder: to be copied.
        seed: of the weights.
        taught: events, on items i0, i1, … by code, that its item memory knows; None for a bundle
            without a memory.
        held_out: what its manifest says was left out of its training.
    """
    config = CONFIG if taught is None else msgspec.structs.replace(CONFIG, memory=MEMORY)
    folder.mkdir(parents=True)
    shutil.copytree(text_encoder, folder / TEXT_ENCODER)
    torch.manual_seed(seed)
    network = MetaRecommender(config, KNOWN)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    if taught is not None:
        memory = ItemMemory(MEMORY, ITEMS)
        events = occurrences(taught, np.zeros(len(taught), np.bool_), MEMORY.recent)
        memory.learn_and_collect(events, np.full((len(taught), 1), NO_ITEM, np.int32))
        write_memory(folder, memory, [f"i{n}" for n in range(ITEMS)])
    write_bundle(
        folder,
        model=config,
        weights={**network.state_dict(), ANCHORS: torch.randn(CONFIG.anchors, CONFIG.dim)},
        items=KnownItems(item_ids=[f"i{n}" for n in range(KNOWN)], counts=[1] * KNOWN),
        provenance=Provenance(
            events_file="events.csv",
            events_sha256="0" * 64,
            items_file="items.csv",
            items_sha256="1" * 64,
            held_out=held_out,
            cut=0.75,
            cut_time=1,
            seed=seed,
            train_events=2,
            train_users=1,
            settings={"dim": CONFIG.dim},
        ),
        metrics={},
        created_at=1,
    )
    return folder
