"""The inner loop under the prequential protocol, by the code that the worker runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.data import EventLog, ItemTable
from worker.evaluation.baselines.base import Setting
from worker.evaluation.diverse import DiverseRanking
from worker.evaluation.top_lists import TopLists
from worker.item_memory.history import UserHistories
from worker.item_memory.memory import ItemMemory
from worker.item_memory.occurrences import LogOccurrences
from worker.model.interface import UserArrays
from worker.model.mixing import walk
from worker.model.serving import ServingModel
from worker.ranking import ranks_in, top_in
from worker.ranking_quality import TOP
from worker.rows import NO_ITEM
from worker.split import SCORED_EVENTS
from worker.training.sequences import StreamBatch, UserStreams

_USERS_AT_ONCE = 2048
_ITEMS_AT_ONCE = 16_384
_SCORES_AT_ONCE = 1 << 25
"""Scores held at once: 128 MiB of float32."""


@dataclass(frozen=True)
class Ablation:
    """What is switched off, to measure what it adds."""

    inner_loop: bool = True
    """False keeps the fast weights at their start."""
    memory: bool = True
    """False ranks without the item memory, even if the bundle has one."""

    text: bool = True
    """False takes their text from the items that training did not see."""

    def name(self, model: str) -> str:
        """Return the name in reports of what is left of a model."""
        parts = (("_off", self.inner_loop), ("_no_memory", self.memory), ("_no_text", self.text))
        return model + "".join(part for part, kept in parts if not kept)


def variant_name(model: str, ablation: Ablation, diversity: float) -> str:
    """Return the name in reports of a model with parts switched off, or its lists spread out."""
    return ablation.name(model) + (f"_diversity_{diversity:g}" if diversity else "")


class AdaptedRecommender:
    """`StreamRecommender` around a `ServingModel`.

    What is learned of users and what is learned of items do not meet before ranking. So new users
    first go through the inner loop side by side, each one's events in order: event t of every user
    of a batch is one `ServingModel.adapt` call, and leaves the query before it. Then the stream is
    gone through in time order, every event teaching the item memory once it has been ranked.

    Args:
        model: the bundle under test.
        items: the catalogue.
        ablation: what is switched off.
        exclude_seen: leave out what the user has already acted on; see the baselines.
        diversity: spreads the lists out, as `policy.diversity` does.
        name: of the model in reports; what `Ablation.name` makes of it.
    """

    def __init__(
        self,
        model: ServingModel,
        items: ItemTable,
        *,
        ablation: Ablation | None = None,
        exclude_seen: bool = False,
        diversity: float = 0.0,
        name: str = "innerloop",
    ) -> None:
        self._model = model
        self._items = items
        self._ablation = ablation or Ablation()
        self._exclude_seen = exclude_seen
        self._diversity = diversity
        self._name = name

    @property
    def name(self) -> str:
        """The name of the method in reports."""
        return variant_name(self._name, self._ablation, self._diversity)

    @property
    def settings(self) -> dict[str, Setting]:
        """The bundle's version, and how it was trained."""
        manifest = self._model.bundle.manifest
        held = manifest.provenance.held_out
        return {
            "bundle_version": manifest.version,
            "inner_loop": self._ablation.inner_loop,
            "item_memory": self._mixes,
            "text_of_new_items": self._ablation.text,
            "diversity": self._diversity,
            "training_seed": manifest.provenance.seed,
            **({} if held is None else {"held_out": f"{held.column}={','.join(held.values)}"}),
            **manifest.provenance.settings,
        }

    @property
    def _mixes(self) -> bool:
        return self._ablation.memory and self._model.has_memory

    def prequential_ranks(
        self,
        train: EventLog,
        stream: EventLog,
        scored: NDArray[np.bool_],
        n_items: int,
        lists: TopLists | None = None,
    ) -> NDArray[np.int32]:
        """Rank the item of each scored event before adapting to it; −1 where not scored.

        Scored users must have no events in `train`: they are new. What their events before the cut
        would have taught the item memory is in the bundle.
        """
        lists = TopLists(scored, sample=0) if lists is None else lists
        lists.advance(0)
        # Ties go by popularity in training, then by item code.
        order = np.lexsort((np.arange(n_items), -np.bincount(train.items, minlength=n_items)))
        row_of_item = np.empty(n_items, np.int64)
        row_of_item[order] = np.arange(n_items)
        vectors = self._catalogue(order)
        by_row = _with_items(stream, row_of_item)
        queries = self._queries(by_row.where(scored), vectors)
        before_cut = _with_items(train, row_of_item)
        target = torch.from_numpy(by_row.items[scored].astype(np.int64)).to(vectors.device)
        histories = UserHistories(by_row.users, by_row.items)
        seen = histories.before(np.flatnonzero(scored), SCORED_EVENTS).astype(np.int64)
        del histories
        ranking = _Ranking(target, torch.from_numpy(seen).to(vectors.device), self._exclude_seen)
        ranks = np.full(len(stream), -1, np.int32)
        position = np.flatnonzero(scored)
        listed = lists.mask[position]
        if self._mixes:
            memory = self._memory(order)
            events = _after_cut(before_cut, by_row, scored, memory.config.recent)
            scores_of = self._mixed_scores(queries, vectors, memory, events)
        else:
            scores_of = self._dense_scores(queries, vectors, seen)
        diverse = DiverseRanking(self._diversity, vectors) if self._diversity else None
        for these, scores in scores_of:
            found = ranking.ranks(scores, these)
            spread = None
            if diverse is not None:
                left_out = ranking.seen[these] if self._exclude_seen else None
                targets = ranking.targets[these].cpu().numpy()
                found, spread = diverse.rerank(scores, found, targets, left_out)
            ranks[position[these]] = found
            for i in np.flatnonzero(listed[these] & (found >= 0)):
                top = ranking.top(scores, these, int(i)) if spread is None else spread[i]
                lists.add(int(position[these][i]), order[top[top != NO_ITEM]])
            lists.advance(len(found))
        return ranks

    def _dense_scores(
        self, queries: Tensor, vectors: Tensor, seen: NDArray[np.int64]
    ) -> Iterator[tuple[slice, Tensor]]:
        """Yield which of the scored events, in order, and their scores of the catalogue."""
        at_once = max(1, _SCORES_AT_ONCE // len(vectors))
        for start in range(0, len(queries), at_once):
            these = slice(start, start + at_once)
            scores = queries[these] @ vectors.T
            self._model.shift_repeats(scores, torch.from_numpy(seen[these]).to(scores.device))
            yield these, scores

    def _mixed_scores(
        self, queries: Tensor, vectors: Tensor, memory: ItemMemory, events: LogOccurrences
    ) -> Iterator[tuple[slice, Tensor]]:
        """Yield the same with the item memory mixed in, which learns from all events."""
        at_once = max(1, _SCORES_AT_ONCE // len(vectors))
        for these, before_mixing in walk(events, queries, vectors, memory, at_once=at_once):
            yield these, self._model.mix(before_mixing)

    def _memory(self, order: NDArray[np.intp]) -> ItemMemory:
        rows = {self._items.item_ids[code]: row for row, code in enumerate(order)}

        def row_of(item_id: str) -> int:
            # An item of the bundle that this catalogue does not hold keeps a row of its own.
            return rows.setdefault(item_id, len(rows))

        return self._model.memory(row_of)

    def _catalogue(self, order: NDArray[np.intp]) -> Tensor:
        known = self._model.known_items
        parts = []
        for start in range(0, len(order), _ITEMS_AT_ONCE):
            chunk = order[start : start + _ITEMS_AT_ONCE]
            ids = [self._items.item_ids[code] for code in chunk]
            texts = [self._items.texts[code] for code in chunk]
            if not self._ablation.text:
                texts = [t if i in known else "" for i, t in zip(ids, texts, strict=True)]
            parts.append(self._model.item_vectors(ids, texts))
        return torch.cat(parts)

    @torch.inference_mode()
    def _queries(self, events: EventLog, vectors: Tensor) -> Tensor:
        """Return the query before each event, (n, d)."""
        queries = torch.empty(len(events), vectors.shape[1], device=vectors.device)
        streams = UserStreams(events, longest=max(1, len(events)))
        for batch, rows in streams.batches_with_rows(_USERS_AT_ONCE):
            of_batch = self._unroll(batch.to(vectors.device), vectors)
            queries[torch.from_numpy(rows).to(vectors.device)] = of_batch
        return queries

    def _unroll(self, batch: StreamBatch, vectors: Tensor) -> Tensor:
        users = self._model.start(len(batch.items))
        queries = torch.zeros(*batch.items.shape, vectors.shape[1], device=vectors.device)
        for t in range(batch.items.shape[1]):
            active = batch.mask[:, t].nonzero().squeeze(1)
            now = UserArrays(users.hidden[active], users.bias[active], users.adapter[active])
            queries[active, t] = self._model.queries(now)
            after, _, _ = self._model.adapt(
                now,
                vectors[batch.items[active, t]],
                batch.types[active, t],
                batch.gaps[active, t],
                inner_loop=self._ablation.inner_loop,
            )
            users.hidden[active] = after.hidden
            users.bias[active] = after.bias
            users.adapter[active] = after.adapter
        return queries[batch.mask]


@dataclass(frozen=True)
class _Ranking:
    """Ranks and lists by given scores."""

    targets: Tensor
    """Row of each scored event's item, (m,)."""
    seen: Tensor
    """Rows of the user's events before it, newest first, (m, s); −1 fills up."""
    exclude_seen: bool

    def ranks(self, scores: Tensor, these: slice) -> NDArray[np.int32]:
        """Return the rank of each target; −1 if it is excluded."""
        targets, seen = self.targets[these], self.seen[these]
        if not self.exclude_seen:
            return ranks_in(scores, targets).cpu().numpy().astype(np.int32)
        excluded = torch.where(seen < 0, targets.unsqueeze(1), seen)
        ranks = ranks_in(scores, targets, excluded=excluded)
        again = (seen == targets.unsqueeze(1)).any(dim=1)
        return torch.where(again, -1, ranks).cpu().numpy().astype(np.int32)

    def top(self, scores: Tensor, these: slice, i: int) -> NDArray[np.int64]:
        """Return the list of the i-th of these events: rows, best first."""
        row = scores[i : i + 1]
        k = min(TOP, row.shape[1])
        if not self.exclude_seen:
            return top_in(row, k)[0].cpu().numpy()
        seen = self.seen[these][i]
        seen = torch.unique(seen[seen >= 0])
        top = top_in(row, min(k, row.shape[1] - len(seen)), excluded=seen.unsqueeze(0))
        return top[0].cpu().numpy()


def _with_items(log: EventLog, row_of_item: NDArray[np.int64]) -> EventLog:
    rows = row_of_item[log.items].astype(np.int32)
    return EventLog(log.users, rows, log.types, log.times, log.user_ids)


def _after_cut(
    train: EventLog, stream: EventLog, scored: NDArray[np.bool_], recent: int
) -> LogOccurrences:
    """Return the stream for the memory; what users did before the cut is what comes before."""
    wanted = np.concatenate([np.zeros(len(train), np.bool_), scored])
    return LogOccurrences(_joined(train, stream), wanted, recent, skip=len(train))


def _joined(first: EventLog, second: EventLog) -> EventLog:
    return EventLog(
        np.concatenate([first.users, second.users]),
        np.concatenate([first.items, second.items]),
        np.concatenate([first.types, second.types]),
        np.concatenate([first.times, second.times]),
        first.user_ids,
    )
