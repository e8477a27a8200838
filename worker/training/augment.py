"""Changes to users' streams in training: parts cut out, events hidden, vectors blurred.

Options that are off by default; docs/ablations.md has what each is worth. Crop and mask are those
of CL4SRec (Xie et al. 2022, arXiv:2010.14395), without its contrastive loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from schemas.settings import TrainingSettings
from worker.training.sequences import NO_GAP, StreamBatch

_SHORTEST = 2
"""Events of a cropped stream, at least: one to adapt to and one to predict."""


@dataclass(frozen=True)
class Augmentation:
    """What is done to each batch, by torch's random generator.

    Args:
        crop: share of the streams that are cut to a random part of theirs.
        mask: share of the events whose item is hidden from the model; it is still to be predicted.
        noise: standard deviation of Gaussian noise, in multiples of the vectors' root mean square.
        dropout: share of the vectors' numbers that are zero, the rest scaled up.
    """

    crop: float = 0.0
    mask: float = 0.0
    noise: float = 0.0
    dropout: float = 0.0

    @classmethod
    def of(cls, settings: TrainingSettings) -> Augmentation:
        """Return that of the settings."""
        return cls(settings.crop, settings.mask, settings.noise, settings.dropout)

    def streams(self, batch: StreamBatch) -> StreamBatch:
        """Return the batch with some streams cropped."""
        return crop(batch, self.crop) if self.crop else batch

    def seen(self, vectors: Tensor) -> Tensor:
        """Return the item vectors (n, T, d) as the model gets to see them, not to predict them."""
        if self.noise:
            spread = vectors.detach().square().mean().sqrt()
            vectors = vectors + self.noise * spread * torch.randn_like(vectors)
        if self.dropout:
            vectors = torch.nn.functional.dropout(vectors, self.dropout)
        if self.mask:
            shown = torch.rand(vectors.shape[:2], device=vectors.device) >= self.mask
            vectors = vectors * shown.unsqueeze(2)
        return vectors


def crop(batch: StreamBatch, share: float) -> StreamBatch:
    """Cut a share of the streams to a random contiguous part of half their length, or more."""
    n, length = batch.mask.shape
    device = batch.mask.device
    lengths = batch.mask.sum(dim=1)
    least = torch.maximum(lengths.clamp(max=_SHORTEST), lengths // 2)
    chosen = torch.rand(n, device=device) < share
    kept = least + (torch.rand(n, device=device) * (lengths - least + 1)).long()
    kept = torch.where(chosen, kept.clamp(max=lengths), lengths)
    first = (torch.rand(n, device=device) * (lengths - kept + 1)).long().clamp(max=lengths - kept)
    steps = torch.arange(length, device=device)
    mask = steps < kept.unsqueeze(1)
    at = (first.unsqueeze(1) + steps).clamp(max=length - 1)
    gaps = batch.gaps.gather(1, at)
    gaps[:, 0] = NO_GAP  # before its first event nothing is known of the user
    return StreamBatch(batch.items.gather(1, at), batch.types.gather(1, at), gaps, mask)
