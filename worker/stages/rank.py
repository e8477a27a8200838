"""Rank: the best items of the whole catalogue for each query, and which recent item explains each.

Exact either way: on a CPU by the catalogue's index, elsewhere by scoring every item.
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
from worker.policy.batch import BatchPolicy
from worker.policy.reason_types import reason_types
from worker.rows import NO_ITEM
from worker.stages.rank_by_index import rank_by_index
from worker.stages.rank_by_matrix import rank_by_matrix
from worker.stages.ranking_task import Mixing, RankingTask
from worker.trending.batch import BatchPrior


@dataclass(frozen=True)
class Ranked:
    """The best items for n queries, best first; shorter lists are filled up with `NO_ITEM`."""

    rows: NDArray[np.int64]
    """Catalogue rows, (n, k)."""
    scores: NDArray[np.float32]
    """(n, k); −∞ where there is no item."""
    reasons: NDArray[np.int64]
    """Row of the most similar of the user's recent items, (n, k), or `NO_ITEM`."""
    propensities: NDArray[np.float64] | None = None
    """Probability of each item at its place, given those above it, (n, k); None where chance has no
    part in it."""
    reason_types: NDArray[np.uint8] | None = None
    """What the user did with the items of the reasons, rows of `EVENT_TYPE_INDEX`, (n, k), void
    where there is no reason; None if that was not asked for."""


@dataclass(frozen=True)
class MemoryStep:
    """An item memory to rank with, and what it is to learn on the way."""

    memory: ItemMemory
    own: OwnTransitions | None = None
    """Of n events; each is learned before its own user is ranked and after the users before it
    are: a list never knows the events that come after it. None teaches nothing."""
    answered: NDArray[np.int64] | None = None
    """Positions, rising, of the events whose users are ranked, before any others; None for all."""

    def events(self, recent_rows: NDArray[np.int64]) -> Occurrences:
        """Return what the memory goes through, all users of these wanted.

        Args:
            recent_rows: rows of the users' recent items, newest first, (n, r); of users without an
                event among `answered` after those with one, if only some are answered.
        """
        if self.own is not None and self.answered is not None:
            return self._some(self.own, self.answered, recent_rows)
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

    def _some(
        self, own: OwnTransitions, answered: NDArray[np.int64], recent_rows: NDArray[np.int64]
    ) -> Occurrences:
        new, n = own.transitions, len(own.transitions)
        ranked, more = len(answered), len(recent_rows) - len(answered)
        recent_rows = recent_rows[:, : self.memory.config.recent]
        recent = np.full((n + more, recent_rows.shape[1]), NO_ITEM, np.int32)
        recent[answered], recent[n:] = recent_rows[:ranked], recent_rows[ranked:]
        wanted = np.zeros(n + more, np.bool_)
        wanted[answered] = wanted[n:] = True
        none = np.full((more, WINDOW), NO_ITEM, np.int32)
        return Occurrences(
            np.concatenate([new.items, np.zeros(more, np.int32)]),
            np.concatenate([new.before, none]),
            np.concatenate([new.times, np.zeros(more, np.int64)]),
            np.concatenate([own.learns, np.zeros(more, np.bool_)]),
            recent,
            wanted,
        )


def rank(
    queries: Tensor,
    recent_rows: NDArray[np.int64],
    catalogue: Catalogue,
    model: AdaptationModel,
    k: int,
    *,
    memory: MemoryStep | None = None,
    policy: BatchPolicy | None = None,
    prior: BatchPrior | None = None,
) -> Ranked:
    """Rank the available items for users' queries.

    Args:
        queries: (n, dim).
        recent_rows: catalogue rows of the users' recent items, newest first, (n, r).
        catalogue: the items.
        model: shifts the scores of recent items.
        k: length of the lists.
        memory: to be mixed in; None ranks by the queries and the shift of recent items alone.
        policy: what the lists are made of beyond the scores; None goes by them alone.
        prior: what is added to some items' scores, before the policy; None adds nothing.
    """
    if not len(queries):
        if memory is not None and memory.own is not None:
            events = memory.events(recent_rows)
            memory.memory.learn_and_collect(events, np.empty((len(events.items), 0), np.int32))
        empty = np.empty((0, k), np.int64)
        return Ranked(empty, empty.astype(np.float32), empty)
    mixing = None if memory is None else Mixing(memory.memory, memory.events(recent_rows))
    task = RankingTask(queries, recent_rows, catalogue, model, mixing, k, policy, prior)
    with torch.inference_mode():
        on_cpu = catalogue.index is not None
        lists = rank_by_index(task) if on_cpu else rank_by_matrix(task)
    if policy is None or policy.recent_types is None:
        return Ranked(*lists)
    return Ranked(*lists, reason_types(lists[2], recent_rows, policy.recent_types))
