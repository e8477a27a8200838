"""Meta-training: learn, over many users' streams, what makes a few events suffice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.errors import DataError
from schemas.settings import TrainingSettings
from worker.data import EventLog
from worker.item_memory.memory import ItemMemory
from worker.model.config import ModelConfig
from worker.model.meta_model import MetaRecommender
from worker.ranking import target_ranks
from worker.ranking_quality import Quality, quality
from worker.rows import NO_ITEM
from worker.training.batch_size import batch_size
from worker.training.checkpoint import Checkpoint
from worker.training.memory_stage import MemoryStage, memory_config
from worker.training.objective import Drawn, Objective
from worker.training.outer_loop import OuterLoop
from worker.training.repeat_fit import fit_repeat_bias, repeat_cases
from worker.training.sampled_softmax import ItemSampler
from worker.training.sequences import StreamBatch, UserStreams, recent_items
from worker.training.tasks import FurtherTasks, category_codes
from worker.training.trained import Epoch, Fitted, TrainedModel

_GRADIENT_NORM = 1.0
_SMALLEST_BATCH = 8
_ANCHOR_SEED = 256


class ValidationCases(NamedTuple):
    """Events of the validation users on items known in training."""

    queries: Tensor
    """Before each event, (n, d)."""
    recent: Tensor
    """Rows of the user's latest items, newest first, `NO_ITEM` where unknown, (n, r)."""
    targets: Tensor
    """Rows of the items acted on, (n,)."""


class MetaTrainer:
    """Trains a `MetaRecommender` by unrolling the inner loop over users' streams.

    Every prefix of a stream is scored on the next item, and the loss is back-propagated through all
    the inner-loop steps before it. On a CPU the result is a function of the arguments and the seed.

    Args:
        settings: sizes and hyper-parameters.
        log: training events.
        text_vectors: the items' text vectors, (items, text_dim).
        seed: of every random draw.
        device: where to train.
        validate: keep some users for early stopping and for what is fitted after the outer loop;
            False trains on everybody, for `refit`.
        categories: of the items, for the task of predicting them; None if unknown.

    Raises:
        DataError: there are too few users to train on.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        log: EventLog,
        text_vectors: NDArray[np.float32],
        seed: int,
        device: torch.device,
        *,
        validate: bool = True,
        categories: list[str] | None = None,
    ) -> None:
        torch.manual_seed(seed)
        self._settings = settings
        self._seed = seed
        self._rng = np.random.default_rng(seed)
        self._device = device
        self._text = torch.from_numpy(text_vectors).to(device)
        validation = self._draw_validation_users(log) if validate else np.zeros(len(log), np.bool_)
        training_log = log.where(~validation)
        self._streams = UserStreams(training_log, settings.longest_stream, shortest=2)
        self._validation = UserStreams(log.where(validation), settings.longest_stream, shortest=2)
        if len(self._streams) == 0 or (validate and len(self._validation) == 0):
            raise DataError("too few users have two events or more: nothing to learn adaptation on")
        self.counts = np.bincount(training_log.items, minlength=len(text_vectors))
        self.known = np.flatnonzero(self.counts).astype(np.int32)
        self._sampler = ItemSampler(self.counts, settings.sampling_power)
        rows = np.zeros(len(text_vectors), np.int64)
        rows[self.known] = np.arange(len(self.known))
        self._rows = torch.from_numpy(rows).to(device)
        self._is_known = torch.from_numpy(self.counts > 0).to(device)
        self._log = log
        self._held_out = validation
        self.model = MetaRecommender(
            _model_config(settings, log, text_vectors.shape[1]), len(self.known)
        )
        if FurtherTasks.wanted(settings):
            codes = category_codes(categories, len(text_vectors))
            self.model.tasks = FurtherTasks(settings, codes)
        self.model.to(device)
        self._objective = Objective(self.model, settings, self._sampler.log_probability.to(device))
        self._batch_users = batch_size(len(self._streams), settings.batch_users, _SMALLEST_BATCH)
        self._parts = _parts(self._streams.events, settings.epoch_events)
        self.batches_per_epoch = self._part(0).batch_count(self._batch_users)

    def train(
        self,
        on_batch: Callable[[float], None] = lambda loss: None,
        on_epoch: Callable[[Epoch], None] = lambda epoch: None,
        checkpoint: Checkpoint | None = None,
    ) -> TrainedModel:
        """Train until the epochs are used up or validation stops improving; keep the best epoch.

        With a checkpoint go on from where it is, which may be the end, and keep it up to date.

        Raises:
            TrainingError: the checkpoint cannot be read or written.
        """
        kept = checkpoint.trained(self.model) if checkpoint else None
        if kept is None:
            kept = self._train(on_batch, on_epoch, checkpoint)
            if checkpoint:
                checkpoint.save_trained(self.model, kept)
        return TrainedModel(self.model, self.known, self.counts, *kept)

    def _train(
        self,
        on_batch: Callable[[float], None],
        on_epoch: Callable[[Epoch], None],
        checkpoint: Checkpoint | None,
    ) -> Fitted:
        loop = self._outer_loop(checkpoint)
        while not loop.finished:
            loss = self._train_epoch(loop, on_batch)
            on_epoch(loop.note(loss, self.validate()))
            if checkpoint:
                checkpoint.save_loop(loop)
        loop.keep_best()
        vectors = self._known_vectors()
        validation = self._fit_repeat_bias(vectors)
        anchors = self._draw_anchors(vectors)
        memory = None
        if self.model.mixer is not None:
            memory, validation = self._fit_memory(anchors)
        return Fitted(anchors, loop.history, memory, validation)

    def refit(
        self,
        first: TrainedModel,
        on_batch: Callable[[float], None] = lambda loss: None,
        checkpoint: Checkpoint | None = None,
    ) -> TrainedModel:
        """Train on everybody for as many epochs as served `first` best; keep what it fitted.

        The repeat bias and the mixer need users whom the model does not know. They are fitted on
        those whom `first` was not trained on, and carry over: both models come from the same
        settings and nearly the same events, so their scores have one scale.

        Raises:
            TrainingError: the checkpoint cannot be read or written.
        """
        loop = self._outer_loop(checkpoint)
        while loop.number < first.best_epoch:
            self._train_epoch(loop, on_batch)
            if checkpoint:
                checkpoint.save_loop(loop)
        self.model.repeat.load_state_dict(first.model.repeat.state_dict())
        if self.model.mixer is not None and first.model.mixer is not None:
            self.model.mixer.load_state_dict(first.model.mixer.state_dict())
        anchors = self._draw_anchors(self._known_vectors())
        return replace(
            first, model=self.model, known=self.known, counts=self.counts, anchors=anchors
        )

    def _outer_loop(self, checkpoint: Checkpoint | None) -> OuterLoop:
        loop = OuterLoop(self.model, self._settings, self.batches_per_epoch, self._rng)
        if checkpoint:
            checkpoint.restore_loop(loop)
        return loop

    def _train_epoch(self, loop: OuterLoop, on_batch: Callable[[float], None]) -> float:
        """Train for an epoch; return its mean loss."""
        losses = []
        for batch in self._part(loop.number).batches(self._batch_users, self._rng):
            losses.append(self._train_batch(batch.to(self._device), loop.optimizer))
            loop.schedule.step()
            on_batch(losses[-1])
        loop.number += 1
        return float(np.mean(losses))

    def _part(self, epoch: int) -> UserStreams:
        # By the epoch's number and not by the generator, so that resuming needs nothing more.
        return self._streams.part(epoch, self._parts, self._seed)

    def validate(self) -> Quality:
        """Return the quality on the validation users over the items known in training."""
        vectors = self._known_vectors()
        return self._quality(self.validation_cases(vectors), vectors)

    @torch.no_grad()
    def validation_cases(self, vectors: Tensor) -> ValidationCases:
        """Return what the validation users' events on known items are ranked by.

        Args:
            vectors: of the items known in training, by row, (known, d).
        """
        anchors = self._draw_anchors(vectors)
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        for cpu_batch in self._validation.batches(256):
            batch = cpu_batch.to(self._device)
            known, rows = self._is_known[batch.items], self._rows[batch.items]
            # An item unseen in training is adapted to through its text, as it will be in serving.
            # It is no target: here it has no row, and the protocol's evaluation covers it.
            event_vectors = self.model.items(self._text[batch.items], rows, known.float())
            queries = self.model.unroll(event_vectors, batch.types, batch.gaps, anchors)
            rows = torch.where(known, rows, NO_ITEM)
            recent = recent_items(rows, self.model.config.recent, NO_ITEM)
            at = batch.mask & known
            parts.append((queries[at], recent[at], rows[at]))
        return ValidationCases(*(torch.cat(column) for column in zip(*parts, strict=True)))

    @torch.no_grad()
    def _quality(self, cases: ValidationCases, vectors: Tensor) -> Quality:
        def shift(scores: Tensor, part: slice) -> None:
            self.model.repeat.apply_to(scores, cases.recent[part])

        ranks = target_ranks(cases.queries, vectors, cases.targets, shift=shift)
        return quality(ranks.cpu().numpy().astype(np.int32))

    def _fit_repeat_bias(self, vectors: Tensor) -> Quality:
        cases = self.validation_cases(vectors)
        fit = repeat_cases(cases.queries, vectors, cases.targets, cases.recent)
        fit_repeat_bias(self.model.repeat, fit)
        return self._quality(cases, vectors)

    def _fit_memory(self, anchors: Tensor) -> tuple[ItemMemory, Quality]:
        with torch.no_grad():
            vectors: Tensor = self.model.items(self._text, self._rows, self._is_known.float())
        stage = MemoryStage(self.model, self._log, self._held_out, vectors, anchors, self._device)
        return stage.run(self._rng)

    def _train_batch(self, batch: StreamBatch, optimizer: torch.optim.Optimizer) -> float:
        settings = self._settings
        drawn = Drawn(
            self._objective.augmented(batch),
            self._sampler.draw(settings.negatives, self._rng).to(self._device),
            self._sampler.draw(settings.anchors, self._rng).to(self._device),
        )
        unique, inverse = drawn.codes()
        keep = (torch.rand(len(unique), device=self._device) >= settings.id_dropout).float()
        vectors = self.model.items(self._text[unique], self._rows[unique], keep)
        loss = self._objective.loss(drawn, vectors, inverse)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), _GRADIENT_NORM)
        optimizer.step()
        return loss.item()

    @torch.no_grad()
    def _known_vectors(self) -> Tensor:
        codes = torch.from_numpy(self.known).long().to(self._device)
        ones = torch.ones(len(codes), device=self._device)
        vectors: Tensor = self.model.items(self._text[codes], self._rows[codes], ones)
        return vectors

    def _draw_anchors(self, vectors: Tensor) -> Tensor:
        """Return the vectors of serving's anchors: the same items at every call."""
        # From a generator of their own, so that validating does not disturb training's draws.
        rng = np.random.default_rng(_ANCHOR_SEED)
        codes = self._sampler.draw(self._settings.anchors, rng).to(self._device)
        return vectors[self._rows[codes]].clone()

    def _draw_validation_users(self, log: EventLog) -> NDArray[np.bool_]:
        users = np.unique(log.users)
        n = max(1, round(len(users) * self._settings.validation_users))
        drawn = self._rng.choice(users, n, replace=False)
        events = np.bincount(log.users)[drawn].cumsum()
        n = max(1, int(np.searchsorted(events, self._settings.validation_events, side="right")))
        chosen = np.zeros(len(log.user_ids), np.bool_)
        chosen[drawn[:n]] = True
        return chosen[log.users]


def _parts(events: int, epoch_events: int) -> int:
    """Return into how many epochs a pass over the events falls."""
    return max(1, round(events / epoch_events)) if epoch_events else 1


def _model_config(settings: TrainingSettings, log: EventLog, text_dim: int) -> ModelConfig:
    return ModelConfig(
        dim=settings.dim,
        rank=settings.rank,
        anchors=settings.anchors,
        text_dim=text_dim,
        memory=memory_config(log, settings.memory_neighbours) if settings.memory else None,
        inner_steps=settings.inner_steps,
        type_steps=settings.type_steps,
        timed_forgetting=settings.timed_forgetting,
        inner_temperature=settings.inner_temperature,
    )
