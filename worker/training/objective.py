"""The outer loop's loss of a batch of users' streams."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from schemas.settings import TrainingSettings
from worker.model.meta_model import MetaRecommender
from worker.training.augment import Augmentation
from worker.training.sampled_softmax import Items, sampled_softmax_loss
from worker.training.sequences import StreamBatch


class Drawn(NamedTuple):
    """A batch, and the items that were drawn for it: codes."""

    batch: StreamBatch
    negatives: Tensor
    """(m,)."""
    anchors: Tensor
    """(M,)."""

    def codes(self) -> tuple[Tensor, Tensor]:
        """Return the distinct items, and where each item of batch, negatives and anchors is."""
        # Each item goes through the tower once, however often it occurs.
        together = torch.cat([self.batch.items.flatten(), self.negatives, self.anchors])
        unique, inverse = torch.unique(together, return_inverse=True)
        return unique, inverse


class Objective:
    """The loss of next-item prediction over all prefixes, with the settings' options.

    With α the setting `meta_weight` it is α·L_meta + (1 − α)·L_task: L_meta of the queries that the
    inner loop has adapted, L_task of the queries without it, as the meta-learned start gives them.

    Args:
        model: what is trained.
        settings: the options.
        log_probability: log of each item's probability of being drawn, (items,).
    """

    def __init__(
        self, model: MetaRecommender, settings: TrainingSettings, log_probability: Tensor
    ) -> None:
        self._model = model
        self._settings = settings
        self._log_probability = log_probability
        self._augmentation = Augmentation.of(settings)

    def augmented(self, batch: StreamBatch) -> StreamBatch:
        """Return the batch as this step trains on it."""
        return self._augmentation.streams(batch)

    def loss(self, drawn: Drawn, vectors: Tensor, inverse: Tensor) -> Tensor:
        """Return the loss in nats.

        Args:
            drawn: batch, negatives and anchors.
            vectors: of the distinct items, (u, d).
            inverse: from `Drawn.codes`.
        """
        device = vectors.device.type
        half = self._settings.precision == "bfloat16"
        with torch.autocast(device, torch.bfloat16, enabled=half):
            loss = self._loss(drawn, vectors, inverse)
            if self._settings.adversarial:
                loss = 0.5 * (loss + self._loss(drawn, self._attacked(vectors, loss), inverse))
        return loss

    def _attacked(self, vectors: Tensor, loss: Tensor) -> Tensor:
        """Move each vector by a share of its length to where the loss grows fastest.

        As Miyato et al. 2017 (arXiv:1605.07725) do for words, and He et al. 2018
        (arXiv:1808.03908) for items.
        """
        (gradient,) = torch.autograd.grad(loss, vectors, retain_graph=True)
        length = vectors.detach().norm(dim=1, keepdim=True)
        direction = F.normalize(gradient.detach(), dim=1)
        attacked: Tensor = vectors + self._settings.adversarial * length * direction
        return attacked

    def _loss(self, drawn: Drawn, vectors: Tensor, inverse: Tensor) -> Tensor:
        batch, settings = drawn.batch, self._settings
        sizes = [batch.items.numel(), len(drawn.negatives), len(drawn.anchors)]
        # `embedding` and not indexing: its gradient adds up in a fixed order, so that training is a
        # function of the seed.
        events, negatives, anchors = (
            F.embedding(part, vectors) for part in torch.split(inverse, sizes)
        )
        events = events.view(*batch.items.shape, -1)
        seen = self._augmentation.seen(events)
        at = batch.mask
        targets = Items(events[at], batch.items[at])
        others = Items(negatives, drawn.negatives)

        def next_item(adapt: bool) -> tuple[Tensor, Tensor]:
            queries = self._model.unroll(
                seen,
                batch.types,
                batch.gaps,
                anchors,
                adapt=adapt,
                first_order=settings.first_order,
            )
            return queries, sampled_softmax_loss(
                queries[at], targets, others, self._log_probability
            )

        queries, loss = next_item(adapt=True)
        if settings.meta_weight < 1:
            alpha = settings.meta_weight
            loss = alpha * loss + (1 - alpha) * next_item(adapt=False)[1]
        if self._model.tasks is not None:
            loss = loss + self._model.tasks(queries, batch)
        return loss
