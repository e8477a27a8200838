"""Training of the rivals that are torch modules here: epochs, validation users, early stopping."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from worker.data import EventLog
from worker.evaluation.baselines.neural.catalogue import Catalogue
from worker.evaluation.baselines.neural.model import NextItemModel
from worker.evaluation.baselines.neural.scoring import latest_shift
from worker.evaluation.baselines.prefixes import recent_before
from worker.ranking import target_ranks
from worker.ranking_quality import quality
from worker.training.sampled_softmax import ItemSampler
from worker.training.sequences import UserStreams

_VALIDATION_SHARE = 0.05
_MOST_VALIDATION_USERS = 1000
_WARM_UP = 0.1
_GRADIENT_NORM = 1.0


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How a rival is trained."""

    epochs: int
    """At most; training ends earlier when validation has not improved for `patience` of them."""
    patience: int
    batch_users: int
    longest: int
    """Longer histories are cut into pieces of this many events."""
    learning_rate: float
    """The peak of a one-cycle schedule (Smith 2018, arXiv:1708.07120)."""
    item_learning_rate: float
    """The same of the item table: an item's row has few steps to learn in."""
    weight_decay: float
    """Of all but the item table."""
    negatives: int
    """Items drawn per step, shared by its events."""
    sampling_power: float
    """Items are drawn with probability ∝ (training events)^power."""
    seed: int


class Fitter:
    """Trains a `NextItemModel` on the training events of all but some validation users.

    The model of the epoch with the best HR@20 + MRR@20 on those users is kept. On a CPU the result
    is a function of the arguments.

    Args:
        model: changed in place; already on `device`.
        catalogue: of the training events.
        train: the training events.
        settings: see there.
        device: where to train.
    """

    def __init__(
        self,
        model: NextItemModel,
        catalogue: Catalogue,
        train: EventLog,
        settings: FitSettings,
        device: torch.device,
    ) -> None:
        self._model = model
        self._catalogue = catalogue
        self._settings = settings
        self._device = device
        self._rng = np.random.default_rng(settings.seed)
        log = catalogue.by_row(train)
        held_out = _some_users(log, self._rng)
        self._streams = UserStreams(log.where(~held_out), settings.longest)
        self._validation = UserStreams(log.where(held_out), settings.longest)
        # Of all training events: an item that only validation users acted on is a negative too.
        self._sampler = ItemSampler(catalogue.counts[: catalogue.known], settings.sampling_power)
        self._log_probability = self._sampler.log_probability.to(device)

    def fit(self, on_epoch: Callable[[int, float, float], None] | None = None) -> None:
        """Train; `on_epoch` is told the epoch's number, its mean loss and validation figure."""
        settings = self._settings
        optimizers, schedules = self._optimizers()
        best, best_at, best_state = -1.0, 0, copy.deepcopy(self._model.state_dict())
        for number in range(1, settings.epochs + 1):
            self._model.train()
            losses = []
            for batch in self._streams.batches(settings.batch_users, self._rng):
                losses.append(self._step(batch.items, batch.mask, optimizers))
                for schedule in schedules:
                    schedule.step()
            figure = self._validate()
            if on_epoch is not None:
                on_epoch(number, float(np.mean(losses)), figure)
            if figure > best:
                best, best_at = figure, number
                best_state = copy.deepcopy(self._model.state_dict())
            elif number - best_at >= settings.patience:
                break
        self._model.load_state_dict(best_state)

    def _optimizers(self) -> tuple[list[Optimizer], list[LRScheduler]]:
        settings = self._settings
        table = list(self._model.items.parameters())
        # Adam over the rows in use, as a dense step would spend its time on all the others.
        sparse = torch.optim.SparseAdam(table, lr=settings.item_learning_rate)
        others = [part for part in self._rest() if part.requires_grad]
        dense = torch.optim.AdamW(
            others, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        steps = max(2, settings.epochs * self._streams.batch_count(settings.batch_users))
        optimizers: list[Optimizer] = [sparse, dense]
        schedules: list[LRScheduler] = [
            OneCycleLR(optimizer, rate, total_steps=steps, pct_start=_WARM_UP)
            for optimizer, rate in zip(
                optimizers, (settings.item_learning_rate, settings.learning_rate), strict=True
            )
        ]
        return optimizers, schedules

    def _rest(self) -> list[nn.Parameter]:
        table = {id(part) for part in self._model.items.parameters()}
        return [part for part in self._model.parameters() if id(part) not in table]

    def _step(self, rows: Tensor, mask: Tensor, optimizers: list[Optimizer]) -> float:
        rows, mask = rows.to(self._device), mask.to(self._device)
        negatives = self._sampler.draw(self._settings.negatives, self._rng).to(self._device)
        loss = self._model.loss(rows, mask, negatives, self._log_probability)
        self._model.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._rest(), _GRADIENT_NORM)
        for optimizer in optimizers:
            optimizer.step()
        return loss.item()

    @torch.no_grad()
    def _validate(self) -> float:
        self._model.eval()
        vectors = self._model.items.catalogue(self._catalogue)[: self._catalogue.known]
        ranks = []
        for batch in self._validation.batches(256):
            rows, mask = batch.items.to(self._device), batch.mask.to(self._device)
            queries = self._model.queries(rows)[mask]
            shift = latest_shift(recent_before(rows, 1)[mask].squeeze(1), self._model.repeat.item())
            found = target_ranks(queries, vectors, rows[mask], shift=shift)
            ranks.append(found.cpu().numpy())
        result = quality(np.concatenate([np.empty(0), *ranks]).astype(np.int32))
        return (result.hit_rate or 0.0) + (result.reciprocal_rank or 0.0)


def _some_users(log: EventLog, rng: np.random.Generator) -> NDArray[np.bool_]:
    users = np.unique(log.users)
    n = min(_MOST_VALIDATION_USERS, round(_VALIDATION_SHARE * len(users)))
    chosen = np.zeros(len(log.user_ids), np.bool_)
    chosen[rng.choice(users, n, replace=False)] = True
    return chosen[log.users]
