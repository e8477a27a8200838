"""The inner loop under the prequential protocol, by the code that the worker runs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.data import EventLog, ItemTable
from worker.evaluation.baselines.base import Setting
from worker.evaluation.top_lists import TopLists
from worker.model.interface import UserArrays
from worker.model.serving import ServingModel
from worker.ranking import target_ranks, top_rows
from worker.ranking_quality import TOP
from worker.training.sequences import StreamBatch, UserStreams

_USERS_AT_ONCE = 2048
_ITEMS_AT_ONCE = 16_384


class AdaptedRecommender:
    """`StreamRecommender` around a `ServingModel`.

    New users do not share state, so users go through the model side by side, each one's events in
    order: event t of every user of a batch is one `ServingModel.adapt` call.

    Args:
        model: the bundle under test.
        items: the catalogue.
        inner_loop: False keeps the fast weights at their start.
        exclude_seen: leave out what the user has already acted on; see the baselines.
        name: of the model in reports; "_off" is added without the inner loop.
    """

    def __init__(
        self,
        model: ServingModel,
        items: ItemTable,
        *,
        inner_loop: bool = True,
        exclude_seen: bool = False,
        name: str = "innerloop",
    ) -> None:
        self._model = model
        self._items = items
        self._inner_loop = inner_loop
        self._exclude_seen = exclude_seen
        self._name = name

    @property
    def name(self) -> str:
        """The name of the method in reports."""
        return self._name if self._inner_loop else f"{self._name}_off"

    @property
    def settings(self) -> dict[str, Setting]:
        """The bundle's version, and how it was trained."""
        manifest = self._model.bundle.manifest
        return {
            "bundle_version": manifest.version,
            "inner_loop": self._inner_loop,
            "training_seed": manifest.provenance.seed,
            **manifest.provenance.settings,
        }

    def prequential_ranks(
        self,
        train: EventLog,
        stream: EventLog,
        scored: NDArray[np.bool_],
        n_items: int,
        lists: TopLists | None = None,
    ) -> NDArray[np.int32]:
        """Rank the item of each scored event before adapting to it; −1 where not scored.

        Scored users must have no events in `train`: they are new.
        """
        lists = TopLists(scored, sample=0) if lists is None else lists
        lists.advance(0)
        order = np.lexsort((np.arange(n_items), -np.bincount(train.items, minlength=n_items)))
        row_of_item = np.empty(n_items, np.int64)
        row_of_item[order] = np.arange(n_items)
        vectors = self._catalogue(order)
        events = stream.where(scored)
        by_row = EventLog(
            events.users,
            row_of_item[events.items].astype(np.int32),
            events.types,
            events.times,
            events.user_ids,
        )
        ranks = np.full(len(stream), -1, np.int32)
        position = np.flatnonzero(scored)
        streams = UserStreams(by_row, longest=max(1, len(events)))
        for batch, rows in streams.batches_with_rows(_USERS_AT_ONCE):
            wanted = _Wanted(lists, order, batch.mask.numpy(), position[rows])
            ranks[position[rows]] = self._rank_batch(batch, vectors, wanted)
        return ranks

    def _catalogue(self, order: NDArray[np.intp]) -> Tensor:
        parts = []
        for start in range(0, len(order), _ITEMS_AT_ONCE):
            chunk = order[start : start + _ITEMS_AT_ONCE]
            parts.append(
                self._model.item_vectors(
                    [self._items.item_ids[code] for code in chunk],
                    [self._items.texts[code] for code in chunk],
                )
            )
        return torch.cat(parts)

    @torch.inference_mode()
    def _rank_batch(
        self, batch: StreamBatch, vectors: Tensor, wanted: _Wanted
    ) -> NDArray[np.int32]:
        device = self._model.device
        batch = batch.to(device)
        users = self._model.start(len(batch.items))
        ranks = torch.full(batch.items.shape, -1, dtype=torch.long, device=device)
        for t in range(batch.items.shape[1]):
            active = batch.mask[:, t].nonzero().squeeze(1)
            targets = batch.items[active, t]
            now = UserArrays(users.hidden[active], users.bias[active], users.adapter[active])
            queries = self._model.queries(now)
            seen = batch.items[active, :t]
            ranks[active, t] = self._ranks(queries, vectors, targets, seen)
            listed = wanted.at(active, t)
            if len(listed):
                top = self._top(queries[listed], vectors, seen[listed])
                wanted.add(active[listed], t, ranks[active[listed], t], top)
            after, _, _ = self._model.adapt(
                now,
                vectors[targets],
                batch.types[active, t],
                batch.gaps[active, t],
                inner_loop=self._inner_loop,
            )
            users.hidden[active] = after.hidden
            users.bias[active] = after.bias
            users.adapter[active] = after.adapter
            wanted.lists.advance(len(active))
        return ranks[batch.mask].cpu().numpy().astype(np.int32)

    def _ranks(self, queries: Tensor, vectors: Tensor, targets: Tensor, seen: Tensor) -> Tensor:
        shift = self._shift(seen)
        if not self._exclude_seen:
            return target_ranks(queries, vectors, targets, shift=shift)
        ranks = target_ranks(queries, vectors, targets, excluded=seen, shift=shift)
        return torch.where((seen == targets.unsqueeze(1)).any(dim=1), -1, ranks)

    def _top(self, queries: Tensor, vectors: Tensor, seen: Tensor) -> Tensor:
        """Return the lists that `_ranks` counts places in, (n, up to TOP); −1 ends short ones."""
        k, shift = min(TOP, len(vectors)), self._shift(seen)
        if not self._exclude_seen:
            return top_rows(queries, vectors, k, shift=shift)
        top = top_rows(queries, vectors, k, excluded=seen, shift=shift)
        return top.masked_fill((top.unsqueeze(2) == seen.unsqueeze(1)).any(dim=2), -1)

    def _shift(self, seen: Tensor) -> Callable[[Tensor, slice], None]:
        newest_first = seen.flip(1)

        def shift(scores: Tensor, part: slice) -> None:
            self._model.shift_repeats(scores, newest_first[part])

        return shift


class _Wanted:
    """Which lists of a batch of users are wanted, and where they go."""

    def __init__(
        self,
        lists: TopLists,
        item_of_row: NDArray[np.intp],
        mask: NDArray[np.bool_],
        stream_rows: NDArray[np.intp],
    ) -> None:
        self.lists = lists
        self._item_of_row = item_of_row
        self._stream_rows = np.zeros(mask.shape, np.intp)
        self._stream_rows[mask] = stream_rows
        self._mask = np.zeros(mask.shape, np.bool_)
        self._mask[mask] = lists.mask[stream_rows]

    def at(self, users: Tensor, t: int) -> Tensor:
        """Return which of `users` (n,) have a wanted list at their event `t`: places, (m,)."""
        places = np.flatnonzero(self._mask[users.cpu().numpy(), t])
        return torch.from_numpy(places).to(users.device)

    def add(self, users: Tensor, t: int, ranks: Tensor, top: Tensor) -> None:
        """Keep the lists of those that were ranked: users (m,), ranks (m,), top (m, k)."""
        rows = self._stream_rows[users.cpu().numpy(), t].tolist()
        for row, rank, listed in zip(rows, ranks.tolist(), top.cpu().numpy(), strict=True):
            if rank >= 0:
                self.lists.add(row, self._item_of_row[listed[listed >= 0]])
