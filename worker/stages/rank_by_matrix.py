"""Ranking by all scores of the whole catalogue: every query against every item, where that is fast.

In chunks that bound the memory. What a CUDA device does, and what the others are tested against.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.catalogue import Catalogue
from worker.item_memory.memory import ItemMemory, Occurrences
from worker.model.interface import AdaptationModel
from worker.model.mixing import score
from worker.policy.batch import BatchPolicy, Found, leave_out
from worker.ranking_index.narrowing import Narrowing, mask_of
from worker.rows import NO_ITEM
from worker.stages.ranking_task import Lists, RankingTask
from worker.topk import top_items

_CHUNK_ELEMENTS = 1 << 24
"""Elements of the largest intermediate array: 64 MiB of float32."""


def rank_by_matrix(task: RankingTask) -> Lists:
    """Return rows, scores, reasons and propensities; see `worker.stages.rank.rank`."""
    queries, recent_rows, catalogue = task.queries, task.recent_rows, task.catalogue
    widest = max(len(catalogue.vectors), recent_rows.shape[1] * queries.shape[1])
    chunk = max(1, _CHUNK_ELEMENTS // widest)
    parts, probabilities = [], []
    for start in range(0, len(queries), chunk):
        part = slice(start, min(len(queries), start + chunk))
        recent = torch.from_numpy(recent_rows[part]).to(queries.device)
        if task.mixing is None:
            scores = _shifted(queries[part], recent, catalogue, task.model)
        else:
            events, memory = task.mixing.part(part), task.mixing.memory
            scores = _mixed(queries[part], events, catalogue, task.model, memory)
        if task.prior is not None:
            task.prior.add_to(scores, part)
        if task.policy is None:
            best, rows = top_items(scores, catalogue.unavailable, task.k)
        else:
            best, rows, propensities = _by_policy(task.policy, scores, catalogue, recent, part)
            if propensities is not None:
                probabilities.append(propensities)
        reasons = _most_similar(rows, recent, catalogue.vectors)
        parts.append((rows.cpu().numpy(), best.cpu().numpy(), reasons.cpu().numpy()))
    rows_, scores_, reasons_ = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return rows_, scores_, reasons_, np.concatenate(probabilities) if probabilities else None


def _by_policy(
    policy: BatchPolicy, scores: Tensor, catalogue: Catalogue, recent: Tensor, part: slice
) -> tuple[Tensor, Tensor, NDArray[np.float64] | None]:
    """Return scores, rows and propensities of the lists that a policy makes, (n, k) each."""
    device = scores.device
    scores = policy.apply_to(scores, part)
    best, found = top_items(scores, catalogue.unavailable, policy.pool)
    selection = policy.selection
    if selection is None:
        return best, found, None

    def more(which: NDArray[np.int64], narrowing: Narrowing) -> Found:
        others = scores[torch.from_numpy(which).to(device)]
        mask = mask_of(narrowing.allowed, others.shape[1])
        others.masked_fill_(~torch.from_numpy(mask).to(device), -torch.inf)
        leave_out(others, torch.from_numpy(narrowing.excluded).to(device))
        values, rows = top_items(others, None, policy.pool)
        return rows.cpu().numpy(), values.cpu().numpy()

    pool, values = found.cpu().numpy(), best.cpu().numpy()
    policy.fill_up(pool, values, part.start, more)
    known = recent.cpu().numpy()
    # Only the vectors that are wanted come from the device.
    wanted = np.unique(np.concatenate([pool.ravel(), known.ravel()]))
    vectors = catalogue.vectors_of(wanted[wanted >= 0].tolist()).cpu().numpy()
    offset = int((wanted < 0).any())
    places = np.searchsorted(wanted, pool) - offset, np.searchsorted(wanted, known) - offset
    chosen = policy.choose((pool, values), vectors, places, part)
    rows, listed = (torch.from_numpy(column).to(device) for column in chosen[:2])
    return listed, rows, chosen.propensities if selection.explores else None


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
