"""Rank: the best items of the whole catalogue for each query, and which recent item explains each.

Exact: every query against every item, in chunks that bound the memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.catalogue import Catalogue
from worker.item_memory.config import WINDOW
from worker.item_memory.memory import ItemMemory, Occurrences
from worker.item_memory.transitions import OwnTransitions
from worker.model.interface import AdaptationModel
from worker.model.mixing import score
from worker.rows import NO_ITEM
from worker.topk import topk

_CHUNK_ELEMENTS = 1 << 24
"""Elements of the largest intermediate array: 64 MiB of float32."""


@dataclass(frozen=True)
class Ranked:
    """The best items for n queries, best first; shorter lists are filled up with `NO_ITEM`."""

    rows: NDArray[np.int64]
    """Catalogue rows, (n, k)."""
    scores: NDArray[np.float32]
    """(n, k); −∞ where there is no item."""
    reasons: NDArray[np.int64]
    """Row of the most similar of the user's recent items, (n, k), or `NO_ITEM`."""


@dataclass(frozen=True)
class MemoryStep:
    """An item memory to rank with, and what it is to learn on the way."""

    memory: ItemMemory
    own: OwnTransitions | None = None
    """Of the events whose users are ranked, n; each is learned before its own user is ranked and
    after the users before it are: a list never knows the events that come after it. None teaches
    nothing."""

    def events(self, recent_rows: NDArray[np.int64]) -> Occurrences:
        """Return what the memory goes through, all users wanted.

        Args:
            recent_rows: rows of the users' recent items, newest first, (n, r).
        """
        n = len(recent_rows)
        recent = recent_rows[:, : self.memory.config.recent].astype(np.int32)
        wanted = np.ones(n, np.bool_)
        if self.own is None:
            nothing = np.zeros(n, np.int32)
            before = np.full((n, WINDOW), NO_ITEM, np.int32)
            never = np.zeros(n, np.bool_)
            return Occurrences(nothing, before, nothing.astype(np.int64), never, recent, wanted)
        new = self.own.transitions
        return Occurrences(new.items, new.before, new.times, self.own.learns, recent, wanted)


def rank(
    queries: Tensor,
    recent_rows: NDArray[np.int64],
    catalogue: Catalogue,
    model: AdaptationModel,
    k: int,
    *,
    memory: MemoryStep | None = None,
) -> Ranked:
    """Rank the available items for users' queries.

    Args:
        queries: (n, dim).
        recent_rows: catalogue rows of the users' recent items, newest first, (n, r).
        catalogue: the items.
        model: shifts the scores of recent items.
        k: length of the lists.
        memory: to be mixed in; None ranks by the queries and the shift of recent items alone.
    """
    events = None if memory is None else memory.events(recent_rows)
    widest = max(len(catalogue.vectors), recent_rows.shape[1] * queries.shape[1])
    chunk = max(1, _CHUNK_ELEMENTS // widest)
    parts = []
    with torch.inference_mode():
        for start in range(0, len(queries), chunk):
            part = slice(start, start + chunk)
            recent = torch.from_numpy(recent_rows[part]).to(queries.device)
            if memory is None or events is None:
                scores = _shifted(queries[part], recent, catalogue, model)
            else:
                scores = _mixed(queries[part], events.part(part), catalogue, model, memory.memory)
            best, rows = top_items(scores, catalogue.unavailable, k)
            reasons = _most_similar(rows, recent, catalogue.vectors)
            parts.append((rows.cpu().numpy(), best.cpu().numpy(), reasons.cpu().numpy()))
    if not parts:
        empty = np.empty((0, k), np.int64)
        return Ranked(empty, empty.astype(np.float32), empty)
    rows_, scores_, reasons_ = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Ranked(rows_, scores_, reasons_)


def _shifted(
    queries: Tensor, recent: Tensor, catalogue: Catalogue, model: AdaptationModel
) -> Tensor:
    scores = queries @ catalogue.vectors.T
    if len(catalogue.vectors):
        model.shift_repeats(scores, recent)
    return scores


def _mixed(
    queries: Tensor,
    events: Occurrences,
    catalogue: Catalogue,
    model: AdaptationModel,
    memory: ItemMemory,
) -> Tensor:
    scored = score(queries, catalogue.vectors, memory, events, unavailable=catalogue.unavailable)
    return model.mix(scored)


def top_items(scores: Tensor, unavailable: Tensor | None, k: int) -> tuple[Tensor, Tensor]:
    """Return scores and rows, both (n, k), of the best items, best first.

    Among equal scores the lower row comes first, also across the end of the list: items with the
    same text have the same vector, and which of them is listed must not depend on the batch.

    Args:
        scores: of every item, (n, items); altered.
        unavailable: true for rows to leave out, (items,); None for none.
        k: length of the lists; those that cannot be filled end in −∞ and `NO_ITEM`.
    """
    items = scores.shape[1]
    if unavailable is not None:
        scores.masked_fill_(unavailable, -torch.inf)
    # One more than asked for: it tells whether the end of the list cuts through equal scores.
    values, rows = topk(scores, min(k + 1, items))
    if items > k:
        _fill_cut_ties(scores, values, rows, k)
        values, rows = values[:, :k], rows[:, :k]
    values, rows = _order_ties(values, rows)
    rows = rows.masked_fill(values == -torch.inf, NO_ITEM)
    missing = k - values.shape[1]
    if missing > 0:
        values = torch.nn.functional.pad(values, (0, missing), value=-torch.inf)
        rows = torch.nn.functional.pad(rows, (0, missing), value=NO_ITEM)
    return values, rows


def _fill_cut_ties(scores: Tensor, values: Tensor, rows: Tensor, k: int) -> None:
    """Where the k-th and the next score are equal, take the lowest rows of that score instead."""
    threshold = values[:, k - 1]
    cut = torch.nonzero(threshold == values[:, k]).squeeze(1)
    if not len(cut):
        return
    items = scores.shape[1]
    tied = scores[cut] == threshold[cut].unsqueeze(1)
    descending = torch.arange(items, 0, -1, device=scores.device, dtype=torch.int32)
    lowest = items - torch.topk(torch.where(tied, descending, 0), k, dim=1).values.long()
    # Entries above the threshold stay; the tied ones, at the end, are replaced in ascending order.
    above = (values[cut, :k] > threshold[cut].unsqueeze(1)).sum(dim=1, keepdim=True)
    place = torch.arange(k, device=scores.device).unsqueeze(0) - above
    chosen = lowest.gather(1, place.clamp(min=0))
    rows[cut, :k] = torch.where(place >= 0, chosen, rows[cut, :k])


def _order_ties(values: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    by_row = torch.argsort(rows, dim=1)
    values, rows = values.gather(1, by_row), rows.gather(1, by_row)
    values, by_score = torch.sort(values, dim=1, descending=True, stable=True)
    return values, rows.gather(1, by_score)


def _most_similar(rows: Tensor, recent: Tensor, vectors: Tensor) -> Tensor:
    """Return for each item of rows (n, k) the closest of the recent rows (n, r), (n, k)."""
    if not len(vectors):
        return rows
    listed = vectors[rows.clamp(min=0)]
    known = vectors[recent.clamp(min=0)]
    similarity = torch.einsum("nkd,nrd->nkr", listed, known)
    similarity = similarity.masked_fill((recent == NO_ITEM).unsqueeze(1), -torch.inf)
    best, place = similarity.max(dim=2)
    closest = recent.gather(1, place)
    return closest.masked_fill((best == -torch.inf) | (rows == NO_ITEM), NO_ITEM)
