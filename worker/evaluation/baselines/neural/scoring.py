"""Ranks and top lists of a neural rival on the stream, users side by side."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.data import EventLog
from worker.evaluation.baselines.neural.catalogue import (
    Catalogue,
    HistoryBatch,
    scored_histories,
)
from worker.evaluation.baselines.prefixes import NO_EVENT, recent_before
from worker.evaluation.top_lists import TopLists
from worker.ranking import target_ranks, top_rows
from worker.ranking_quality import TOP

Queries = Callable[[Tensor], Tensor]
"""From the items of n histories by row, (n, T), to a query before each, (n, T, d).

The query at t may depend on the items before t alone."""

Shift = Callable[[Tensor, slice], None]
"""See `target_ranks`."""

_USERS_AT_ONCE = 256


class StreamScorer:
    """Ranks the scored events of a stream with a trained model, which stays as it is.

    Args:
        queries: of the trained model.
        vectors: of the catalogue, by row, (n_items, d); items score by their product with queries.
        catalogue: of the training events.
        repeat: added to the score of the user's latest item.
        exclude_seen: leave out what the user has already acted on; an event on such an item gets
            −1, as in `replay`.
        skip_recent: items of the user's last that many events go to the end of the order.
    """

    def __init__(
        self,
        queries: Queries,
        vectors: Tensor,
        catalogue: Catalogue,
        *,
        repeat: float = 0.0,
        exclude_seen: bool = False,
        skip_recent: int = 0,
    ) -> None:
        self._repeat = repeat
        self._queries = queries
        self._vectors = vectors
        self._catalogue = catalogue
        self._device = vectors.device
        self._exclude_seen = exclude_seen
        self._skip_recent = skip_recent

    @torch.no_grad()
    def ranks(
        self,
        train: EventLog,
        stream: EventLog,
        scored: NDArray[np.bool_],
        lists: TopLists | None = None,
    ) -> NDArray[np.int32]:
        """See `StreamRecommender.prequential_ranks`."""
        lists = TopLists(scored, sample=0) if lists is None else lists
        lists.advance(0)
        ranks = np.full(len(stream), -1, np.int32)
        histories = scored_histories(self._catalogue, train, stream, scored, _USERS_AT_ONCE)
        for batch in histories:
            ranks[batch.positions] = self._rank_batch(batch, lists)
            lists.advance(len(batch.positions))
        return ranks

    def _rank_batch(self, batch: HistoryBatch, lists: TopLists) -> NDArray[np.int32]:
        rows, scored = batch.rows.to(self._device), batch.scored.to(self._device)
        queries = self._queries(rows)[scored]
        targets = rows[scored]
        seen = _seen_before(rows, scored) if self._exclude_seen else None
        latest = recent_before(rows, 1)[scored].squeeze(1)
        recent = recent_before(rows, self._skip_recent)[scored]
        shift = self._shift(latest, recent)
        ranks = target_ranks(queries, self._vectors, targets, excluded=seen, shift=shift)
        if seen is not None:
            # A target seen before stands in `seen` twice or more: once is the padding.
            before = scored.nonzero()[:, 1]
            padding = rows.shape[1] - before
            again = (seen == targets.unsqueeze(1)).sum(dim=1) > padding
            ranks = ranks.masked_fill(again, -1)
        result = ranks.cpu().numpy().astype(np.int32)
        wanted = np.flatnonzero(lists.mask[batch.positions] & (result >= 0))
        if len(wanted):
            at = torch.from_numpy(wanted).to(self._device)
            others = None if seen is None else self._without_targets(seen[at], targets[at])
            shift = self._shift(latest[at], recent[at])
            self._add_lists(lists, batch.positions[wanted], queries[at], others, shift)
        return result

    def _shift(self, latest: Tensor, recent: Tensor) -> Shift:
        add, to_the_end = latest_shift(latest, self._repeat), _to_the_end(recent)

        def shift(scores: Tensor, part: slice) -> None:
            add(scores, part)
            to_the_end(scores, part)

        return shift

    def _without_targets(self, seen: Tensor, targets: Tensor) -> Tensor:
        # The targets are padding there: a list may hold them.
        return seen.masked_fill(seen == targets.unsqueeze(1), len(self._catalogue))

    def _add_lists(
        self,
        lists: TopLists,
        positions: NDArray[np.intp],
        queries: Tensor,
        seen: Tensor | None,
        shift: Shift,
    ) -> None:
        vectors = self._vectors
        if seen is not None:
            # One more row, behind all others, for the padding to exclude.
            vectors = torch.cat([vectors, vectors.new_zeros(1, vectors.shape[1])])
            vectors[-1, -1] = 2.0 * torch.finfo(vectors.dtype).min / 4.0
        top = top_rows(queries, vectors, min(TOP, len(self._catalogue)), excluded=seen, shift=shift)
        for place, (position, best) in enumerate(zip(positions, top.cpu().numpy(), strict=True)):
            kept = best if seen is None else best[~np.isin(best, seen[place].cpu().numpy())]
            lists.add(int(position), self._catalogue.item_of_row[kept[kept < len(self._catalogue)]])


def _to_the_end(recent: Tensor) -> Shift:
    """Return what gives the lowest score to the rows in `recent` (queries, n), but `NO_EVENT`."""

    def shift(scores: Tensor, part: slice) -> None:
        queries, places = (recent[part] != NO_EVENT).nonzero(as_tuple=True)
        # Above the padding's own score; see `_add_lists`.
        scores[queries, recent[part][queries, places]] = torch.finfo(scores.dtype).min / 4.0

    return shift


def latest_shift(latest: Tensor, repeat: float) -> Shift:
    """Return what adds `repeat` to the score of the latest item.

    Args:
        latest: its row, of each query, (n,); `NO_EVENT` where there is none.
        repeat: what is added.
    """

    def shift(scores: Tensor, part: slice) -> None:
        query = (latest[part] != NO_EVENT).nonzero().squeeze(1)
        scores[query, latest[part][query]] += repeat

    return shift


def _seen_before(rows: Tensor, scored: Tensor) -> Tensor:
    """Return the rows before each scored event, padded with its own: (n, T) → (scored, T)."""
    user, at = scored.nonzero(as_tuple=True)
    steps = torch.arange(rows.shape[1], device=rows.device)
    own = rows[user, at].unsqueeze(1)
    return torch.where(steps < at.unsqueeze(1), rows[user], own)
