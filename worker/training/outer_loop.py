"""The outer loop's state: all that an epoch changes, and so all that a checkpoint must keep."""

from __future__ import annotations

import copy
import json
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor

from schemas.settings import TrainingSettings
from worker.model.meta_model import MetaRecommender
from worker.ranking_quality import Quality
from worker.training.trained import Epoch

_WARM_UP = 0.1


class LoopNotes(msgspec.Struct, frozen=True, kw_only=True):
    """What is no tensor in the outer loop's state."""

    number: int
    """Epochs done."""
    history: list[Epoch]
    generator: str
    """State of the numpy generator, as JSON: its integers are wider than 64 bits."""
    schedule: dict[str, Any]
    """Position in the learning rate's schedule."""
    parameter_groups: list[dict[str, Any]]
    """AdamW's, the momentary learning rate and momentum among them."""


class OuterLoop:
    """AdamW on a one-cycle schedule, with the epochs done and the best of them.

    Args:
        model: what is trained, in place.
        settings: of the optimizer, the number of epochs and the patience.
        batches_per_epoch: steps of the optimizer in an epoch.
        rng: of the batches and the negatives.
    """

    def __init__(
        self,
        model: MetaRecommender,
        settings: TrainingSettings,
        batches_per_epoch: int,
        rng: np.random.Generator,
    ) -> None:
        self.number = 0
        """Epochs done."""
        self.history: list[Epoch] = []
        """Of the epochs that were validated."""
        self.rng = rng
        self._model = model
        self._settings = settings
        self._best: dict[str, Tensor] = {}
        self.optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer,
            settings.learning_rate,
            total_steps=settings.epochs * batches_per_epoch,
            pct_start=_WARM_UP,
        )

    @property
    def finished(self) -> bool:
        """Whether the epochs are used up, or validation has stopped improving."""
        best_at = max((epoch.number for epoch in self.history if epoch.best), default=0)
        patience = self._settings.patience
        return self.number >= self._settings.epochs or self.number - best_at >= patience

    def note(self, loss: float, validation: Quality) -> Epoch:
        """Add the epoch just done to the history; remember its weights if it is the best."""
        hit_rate = validation.hit_rate or 0.0
        before = max((epoch.validation.hit_rate or 0.0 for epoch in self.history), default=-1.0)
        epoch = Epoch(self.number, loss, validation, hit_rate > before)
        self.history.append(epoch)
        if epoch.best:
            self._best = copy.deepcopy(self._model.state_dict())
        return epoch

    def keep_best(self) -> None:
        """Set the model to the weights of the best epoch."""
        self._model.load_state_dict(self._best)

    def notes(self) -> LoopNotes:
        """Return what is no tensor."""
        return LoopNotes(
            number=self.number,
            history=self.history,
            generator=json.dumps(self.rng.bit_generator.state),
            schedule=self.schedule.state_dict(),
            parameter_groups=self.optimizer.state_dict()["param_groups"],
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return the weights, the best weights, AdamW's moments and the state of torch's draws."""
        tensors = {f"model.{name}": value for name, value in self._model.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self._best.items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adamw.{index}.{name}": value for name, value in moments.items()}
        tensors["draws.cpu"] = torch.get_rng_state()
        if self._on_cuda:
            tensors["draws.cuda"] = torch.cuda.get_rng_state()
        return tensors

    def restore(self, notes: LoopNotes, tensors: dict[str, Tensor]) -> None:
        """Become the loop that `notes` and `tensors` are of.

        Raises:
            KeyError: a tensor is missing.
            RuntimeError: the tensors are not those of such a model.
        """
        self.number = notes.number
        self.history = list(notes.history)
        self._best = part(tensors, "best.")
        self._model.load_state_dict(part(tensors, "model."))
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in part(tensors, "adamw.").items():
            index, key = name.split(".", 1)
            moments.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict(
            {"state": moments, "param_groups": copy.deepcopy(notes.parameter_groups)}
        )
        self.schedule.load_state_dict(dict(notes.schedule))
        self.rng.bit_generator.state = json.loads(notes.generator)
        torch.set_rng_state(tensors["draws.cpu"])
        if self._on_cuda:
            torch.cuda.set_rng_state(tensors["draws.cuda"])

    @property
    def _on_cuda(self) -> bool:
        return next(self._model.parameters()).is_cuda


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
