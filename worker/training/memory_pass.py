"""A pass over the training events with an item memory: what it holds at the end, what it said."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.item_memory.memory import ItemMemory
from worker.model.mixing import InParts, Scored, walk
from worker.training.mixer_fit import MixerCases, joined


def mixer_cases(
    events: InParts,
    users: NDArray[np.int32],
    queries: Tensor,
    vectors: Tensor,
    memory: ItemMemory,
) -> MixerCases:
    """Return what the mixer is fitted on: the wanted events of `events`; see `walk`.

    Args:
        events: in time order, some of them wanted.
        users: user codes of the wanted ones, (m,).
        queries: of the wanted ones, (m, d).
        vectors: item vectors, (items, d).
        memory: empty; knows all events afterwards.
    """
    targets = torch.from_numpy(events.items[events.wanted].astype(np.int64)).to(queries.device)
    parts = []
    for these, scored in walk(events, queries, vectors, memory):
        if these.stop > these.start:
            parts.append(_cases(scored, targets[these], users[these]))
    return joined(parts)


def _cases(scored: Scored, targets: Tensor, users: NDArray[np.int32]) -> MixerCases:
    pairs = scored.pairs
    is_target = pairs.items == targets[pairs.users]
    target_pair = torch.full_like(targets, -1)
    target_pair[pairs.users[is_target]] = torch.nonzero(is_target).squeeze(1)
    return MixerCases(
        pairs=pairs,
        pointers=scored.pointers,
        log_normaliser=scored.scores.logsumexp(dim=1),
        target_dense=scored.scores.gather(1, targets.unsqueeze(1)).squeeze(1),
        target_pair=target_pair,
        users=users,
    )
