"""What ranking is benchmarked on: a catalogue, users in the midst of a session, the item memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.catalog import CatalogItem
from schemas.clickstream import ClickstreamEvent, EventType
from schemas.errors import BenchError
from schemas.settings import WorkerSettings
from worker.bench.in_process import columns, load_catalogue, load_model
from worker.bench.made_up_bundle import write_made_up_bundle
from worker.bench.shop import Shop
from worker.catalogue import Catalogue
from worker.data import load_events, load_items
from worker.item_memory.memory import ItemMemory
from worker.metrics import WorkerMetrics
from worker.model.serving import ServingModel
from worker.pipeline import Pipeline
from worker.state.arena import UserArena

_EVENTS_OF_USER = 6
_AT_ONCE = 512


@dataclass(frozen=True)
class RankingCase:
    """Users to rank for."""

    catalogue: Catalogue
    model: ServingModel
    queries: Tensor
    """(n, dim), on the device."""
    recent_rows: NDArray[np.int64]
    """Catalogue rows of the users' recent items, newest first, (n, r)."""
    memory: ItemMemory | None
    k: int

    def part(self, rows: slice) -> RankingCase:
        """Return some of the users."""
        return RankingCase(
            self.catalogue,
            self.model,
            self.queries[rows],
            self.recent_rows[rows],
            self.memory,
            self.k,
        )


@dataclass(frozen=True)
class RealData:
    """A bundle with the files that it is to be served with."""

    bundle: Path
    items: Path
    events: Path


def made_up_case(
    items: int, users: int, *, dim: int, k: int, device: str, folder: Path, memory: bool = True
) -> RankingCase:
    """Make a case of any size; `folder` is for its bundle, and must not exist."""
    shop = Shop.of_size(items, users)
    write_made_up_bundle(folder, shop, dim=dim, memory=memory)
    events = shop.events(_EVENTS_OF_USER * users, seed=3, label="e")
    return _case(folder, shop.items(), events, k=k, device=device, users=users)


def real_case(data: RealData, users: int, *, k: int, device: str) -> RankingCase:
    """Take the last users of an events file through their last events, as a worker would.

    Raises:
        BundleError: the bundle is none.
        DataError: a file cannot be used.
    """
    table = load_items(data.items)
    log = load_events(data.events, table)
    last = list(dict.fromkeys(log.users[::-1].tolist()))[:users]
    chosen = np.flatnonzero(np.isin(log.users, last)).tolist()
    kinds = list(EventType)
    events = [
        ClickstreamEvent(
            event_id=f"e{i}",
            user_id=log.user_ids[log.users[i]],
            type=kinds[log.types[i]],
            time=int(log.times[i]),
            item_id=table.item_ids[log.items[i]],
            query="-" if kinds[log.types[i]] is EventType.SEARCH else None,  # a search needs one
        )
        for i in chosen
    ]
    named = zip(table.item_ids, table.texts, strict=True)
    catalogue = [CatalogItem(item_id=item_id, title=text) for item_id, text in named]
    return _case(data.bundle, catalogue, events, k=k, device=device, users=users)


def _case(
    bundle: Path,
    items: list[CatalogItem],
    events: list[ClickstreamEvent],
    *,
    k: int,
    device: str,
    users: int,
) -> RankingCase:
    """Load the catalogue and apply the events with the worker's stages."""
    model = load_model(bundle, device)
    catalogue = load_catalogue(model, items)
    settings = WorkerSettings(top_k=k)
    arena = UserArena(model, catalogue, recent_events=settings.recent_events, top_k=k)
    pipeline = Pipeline(model, catalogue, arena, WorkerMetrics(), settings)
    found: dict[str, tuple[Tensor, NDArray[np.int64]]] = {}
    for start in range(0, len(events), _AT_ONCE):
        answers = pipeline.process(columns(events[start : start + _AT_ONCE], start))
        for i in answers.batch.last_of_user():
            user = answers.events.user_ids[answers.batch.source[i]]
            found[user] = (answers.adapted.queries[i], answers.batch.recent_rows[i])
    if not found:
        raise BenchError("there is no event to rank after")
    queries, recent = zip(*list(found.values())[:users], strict=True)
    memory = model.memory(catalogue.reserve) if model.has_memory else None
    return RankingCase(catalogue, model, torch.stack(queries), np.stack(recent), memory, k)
