"""Scores of the whole catalogue with the item memory mixed in: training, evaluation and worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.item_memory.memory import Candidates, ItemMemory, Occurrences
from worker.model.mixer import Mixer, Pairs, pairs_of
from worker.rows import NO_ITEM
from worker.topk import top_items

EVENTS_AT_ONCE = 2048
_SCORES_AT_ONCE = 1 << 27
"""Scores held at once: 512 MiB of float32."""


class InParts(Protocol):
    """Events that can be taken a part at a time: `Occurrences`, `LogOccurrences`."""

    @property
    def items(self) -> NDArray[np.int32]:
        """Row of the item acted on, (n,)."""

    @property
    def wanted(self) -> NDArray[np.bool_]:
        """Whether candidates are wanted, (n,)."""

    def part(self, rows: slice) -> Occurrences:
        """Return some of the events."""


class Scored(NamedTuple):
    """Scores before mixing."""

    scores: Tensor
    """Inner products, (n, items); −∞ where not to be recommended."""
    pairs: Pairs
    pointers: Tensor
    """Candidates of query i are `pointers[i]:pointers[i + 1]`, (n + 1,)."""


def score(
    queries: Tensor,
    vectors: Tensor,
    memory: ItemMemory,
    events: Occurrences,
    *,
    collect_first: bool = False,
    unavailable: Tensor | None = None,
) -> Scored:
    """Score the catalogue for the wanted events, and take the memory through all events.

    Args:
        queries: of the m events wanted, in order, (m, d).
        vectors: item vectors, (items, d).
        memory: learns from the events; rows are those of `vectors`.
        events: in order, m of them wanted.
        collect_first: see `ItemMemory.learn_and_collect`.
        unavailable: true for items not to be recommended, (items,); None for none.
    """
    scores = queries @ vectors.T
    # Which of equal items is a candidate must not depend on the batch.
    best, rows = top_items(scores, unavailable, min(memory.config.dense, scores.shape[1]))
    named = rows.cpu().numpy()
    found = collect_wanted(memory, events, named, collect_first=collect_first)
    found = _below(found, len(vectors))
    latest = events.recent[events.wanted, 0].astype(np.int64)
    pairs = pairs_of(
        found,
        scores,
        best.logsumexp(dim=1),
        vectors,
        torch.from_numpy(latest).to(queries.device),
    )
    return Scored(scores, pairs, torch.from_numpy(found.pointers).to(queries.device))


def collect_wanted(
    memory: ItemMemory,
    events: Occurrences,
    named: NDArray[np.integer],
    *,
    collect_first: bool = False,
) -> Candidates:
    """Take the memory through events; return the candidates of the wanted ones, m of n.

    Args:
        memory: learns from the events.
        events: in order, m of them wanted.
        named: further candidates of these, (m, D); −1 fills up.
        collect_first: see `ItemMemory.learn_and_collect`.
    """
    if len(named) == len(events.items):
        dense = np.ascontiguousarray(named, np.int32)
        return memory.learn_and_collect(events, dense, collect_first=collect_first)
    dense = np.full((len(events.items), named.shape[1]), NO_ITEM, np.int32)
    dense[events.wanted] = named
    return _of_wanted(memory.learn_and_collect(events, dense, collect_first=collect_first), events)


def mix(scored: Scored, mixer: Mixer) -> Tensor:
    """Return the mixed scores, (n, items): those of the candidates are changed in place."""
    pairs = scored.pairs
    scored.scores[pairs.users, pairs.items] = pairs.dense + mixer(pairs)
    return scored.scores


@torch.no_grad()
def walk(
    events: InParts,
    queries: Tensor,
    vectors: Tensor,
    memory: ItemMemory,
    *,
    at_once: int | None = None,
) -> Iterator[tuple[slice, Scored]]:
    """Take the memory through events, test then learn, and score the catalogue where wanted.

    Args:
        events: in time order, m of them wanted.
        queries: of the wanted ones, in order, (m, d).
        vectors: item vectors, (items, d).
        memory: learns.
        at_once: most of the wanted events that are scored in a step, which bounds what is held;
            None takes as many as have `_SCORES_AT_ONCE` scores.

    Yields:
        Which of the wanted events, and their scores before mixing.
    """
    done = 0
    at_once = at_once or max(1, _SCORES_AT_ONCE // len(vectors))
    for rows in _steps(events.wanted, at_once):
        part = events.part(rows)
        these = slice(done, done + int(part.wanted.sum()))
        done = these.stop
        yield these, score(queries[these], vectors, memory, part, collect_first=True)


def _steps(wanted: NDArray[np.bool_], at_once: int) -> Iterator[slice]:
    """Cut events into steps of at most so many wanted ones, and `EVENTS_AT_ONCE` in all."""
    start = 0
    while start < len(wanted):
        stop = min(start + EVENTS_AT_ONCE, len(wanted))
        of_step = np.flatnonzero(wanted[start:stop])
        if len(of_step) > at_once:
            stop = start + int(of_step[at_once])
        yield slice(start, stop)
        start = stop


def _of_wanted(found: Candidates, events: Occurrences) -> Candidates:
    # The others have no candidates, so nothing but their empty entries falls away.
    pointers = np.concatenate([found.pointers[:1], found.pointers[1:][events.wanted]])
    return replace(found, pointers=pointers, context=found.context[events.wanted])


def _below(found: Candidates, rows: int) -> Candidates:
    """Return the candidates with rows below `rows`: the memory may know items that are not here."""
    keep = found.rows < rows
    if keep.all():
        return found
    kept = np.concatenate([[0], np.cumsum(keep)])
    return Candidates(
        kept[found.pointers],
        found.rows[keep],
        found.features[keep],
        found.recency[keep],
        found.link[keep],
        found.context,
    )
