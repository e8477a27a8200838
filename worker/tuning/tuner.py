"""The tuning itself: gradient steps on the low-rank updates, measured on texts kept out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from transformers import PreTrainedModel

from schemas.errors import DataError
from schemas.settings import TuningSettings
from worker.encoder.folder import HeldOut
from worker.encoder.source import LoadedModel
from worker.training.progress import Progress
from worker.tuning.adapter import add_lora, merged, targets
from worker.tuning.contrastive import PairBatch, contrastive_loss, draw_batch, log_inclusion
from worker.tuning.held_out import HeldOutTexts
from worker.tuning.text_pairs import TextPairs
from worker.tuning.text_tower import TextTower

if TYPE_CHECKING:
    from peft import PeftModel

_GRADIENT_NORM = 1.0
_WARM_UP = 0.1


@dataclass(frozen=True)
class Tuned:
    """A tuned transformer."""

    model: PreTrainedModel
    """With the updates merged into its weights, on the CPU."""
    targets: list[str]
    """Kinds of layer that were tuned."""
    pairs: int
    """Pairs that were learned from."""
    losses: list[float]
    """Of each step's batch before the step, nats."""
    held_out: HeldOut


def tune(
    loaded: LoadedModel,
    texts: list[str],
    pairs: TextPairs,
    settings: TuningSettings,
    *,
    seed: int,
    device: torch.device,
    progress: Progress,
) -> Tuned:
    """Tune a transformer, in place, so that texts of one pair get closer vectors.

    On a CPU the result is a function of the arguments (and the number of threads).

    Args:
        loaded: the transformer and its tokenizer.
        texts: distinct texts.
        pairs: of texts, by their places.
        settings: of the tuning.
        seed: of the updates' start, the batches and which texts are kept out.
        device: where to compute.
        progress: is told of each step.

    Raises:
        DataError: there are too few pairs to learn from and to measure on.
        EncoderError: peft is not installed or cannot adapt the model.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    held_out = rng.random(len(texts)) < settings.held_out_texts
    touched = held_out[pairs.left] | held_out[pairs.right]
    learned, kept_out = pairs.where(~touched), pairs.where(touched)
    if not len(learned) or not len(kept_out):
        raise DataError(
            f"only {len(pairs)} pairs of texts whose items a user acted on within"
            f" {settings.window} events (setting tuning.window): too few to tune on and to measure"
            " on texts kept out; give more events"
        )
    adapted = add_lora(loaded.model, settings.rank, settings.alpha).to(device)
    transformer = cast(PreTrainedModel, adapted)
    tower = TextTower(
        loaded,
        transformer,
        texts,
        settings.max_tokens,
        device,
        mixed_precision=settings.precision == "bfloat16",
    )
    measured = HeldOutTexts(kept_out, held_out, rng)
    progress.on_phase("measuring before", 1)
    before = measured.measure(tower, settings.temperature)
    progress.on_phase("tuning", settings.steps)
    losses = _Steps(adapted, tower, learned, len(texts), settings).run(rng, progress)
    progress.on_phase("measuring after", 1)
    after = measured.measure(tower, settings.temperature)
    kinds = targets(adapted)
    return Tuned(
        model=merged(adapted.cpu()),
        targets=kinds,
        pairs=len(learned),
        losses=losses,
        held_out=HeldOut(
            texts=len(measured.texts),
            pairs=len(measured),
            loss_before=before.loss,
            loss_after=after.loss,
            recall_before=before.recall,
            recall_after=after.recall,
        ),
    )


class _Steps:
    """AdamW on the low-rank updates: a short warm-up, then falling to nothing."""

    def __init__(
        self,
        adapted: PeftModel,
        tower: TextTower,
        pairs: TextPairs,
        texts: int,
        settings: TuningSettings,
    ) -> None:
        self._tower, self._pairs, self._settings = tower, pairs, settings
        self._trained = [item for item in adapted.parameters() if item.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._trained, lr=settings.learning_rate, weight_decay=0.0
        )
        self._correction = (
            log_inclusion(pairs, texts, settings.batch_pairs)
            if settings.popularity_correction
            else torch.zeros(texts)
        )

    def run(self, rng: np.random.Generator, progress: Progress) -> list[float]:
        """Take all steps; return the loss before each."""
        schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: _rate(step, self._settings.steps)
        )
        losses = []
        for _ in range(self._settings.steps):
            losses.append(self._step(draw_batch(self._pairs, self._settings.batch_pairs, rng)))
            schedule.step()
            progress.on_step(1)
        return losses

    def _step(self, batch: PairBatch) -> float:
        vectors = self._tower.vectors(batch.texts)
        correction = self._correction[torch.from_numpy(batch.texts).long()]
        loss = contrastive_loss(
            vectors,
            batch.counts.to(vectors.device),
            self._settings.temperature,
            correction.to(vectors.device),
        )
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._trained, _GRADIENT_NORM)
        self._optimizer.step()
        return loss.item()


def _rate(step: int, steps: int) -> float:
    """Rise over the first tenth of the steps, then fall to nothing, both in a straight line."""
    rise = max(1.0, _WARM_UP * steps)
    return min((step + 1) / rise, (steps - step) / max(1.0, steps - rise))
