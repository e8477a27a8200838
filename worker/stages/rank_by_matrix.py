"""Ranking by all scores of the whole catalogue: every query against every item, where that is fast.

In chunks that bound the memory. What a CUDA device does, and what the others are tested against.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from worker.catalogue import Catalogue
from worker.item_memory.memory import ItemMemory, Occurrences
from worker.model.interface import AdaptationModel
from worker.model.mixing import score
from worker.rows import NO_ITEM
from worker.stages.ranking_task import Lists, RankingTask
from worker.topk import top_items

_CHUNK_ELEMENTS = 1 << 24
"""Elements of the largest intermediate array: 64 MiB of float32."""


def rank_by_matrix(task: RankingTask) -> Lists:
    """Return rows, scores and reasons; see `worker.stages.rank.rank`."""
    queries, recent_rows, catalogue = task.queries, task.recent_rows, task.catalogue
    widest = max(len(catalogue.vectors), recent_rows.shape[1] * queries.shape[1])
    chunk = max(1, _CHUNK_ELEMENTS // widest)
    parts = []
    for start in range(0, len(queries), chunk):
        part = slice(start, start + chunk)
        recent = torch.from_numpy(recent_rows[part]).to(queries.device)
        if task.mixing is None:
            scores = _shifted(queries[part], recent, catalogue, task.model)
        else:
            events, memory = task.mixing.events.part(part), task.mixing.memory
            scores = _mixed(queries[part], events, catalogue, task.model, memory)
        if task.policy is not None:
            scores = task.policy.apply_to(scores, part)
        best, rows = top_items(scores, catalogue.unavailable, task.pool)
        reasons = _most_similar(rows, recent, catalogue.vectors)
        parts.append((rows.cpu().numpy(), best.cpu().numpy(), reasons.cpu().numpy()))
    rows_, scores_, reasons_ = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return rows_, scores_, reasons_


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
