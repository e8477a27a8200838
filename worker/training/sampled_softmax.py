"""Next-item loss: softmax over the target and items drawn at random, corrected for how often."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


class ItemSampler:
    """Draws items with probability ∝ (training count)^power, with replacement."""

    def __init__(self, counts: NDArray[np.int64], power: float) -> None:
        weights = np.where(counts > 0, counts.astype(np.float64) ** power, 0.0)
        probability = weights / weights.sum()
        self._cumulative = np.cumsum(probability)
        self.log_probability = torch.from_numpy(
            np.log(np.maximum(probability, 1e-12)).astype(np.float32)
        )

    def draw(self, n: int, rng: np.random.Generator) -> Tensor:
        """Return `n` item codes, int64."""
        codes = np.searchsorted(self._cumulative, rng.random(n) * self._cumulative[-1])
        return torch.from_numpy(np.minimum(codes, len(self._cumulative) - 1))


class Items(NamedTuple):
    """Some items: their vectors (n, d) and codes (n,)."""

    vectors: Tensor
    codes: Tensor


def sampled_softmax_loss(
    queries: Tensor, targets: Items, negatives: Items, log_probability: Tensor
) -> Tensor:
    """Return the mean logQ-corrected sampled softmax loss, in nats.

    Each logit loses the log of the item's expected count in the sample, so that the sampled
    softmax estimates the full one (Bengio & Senécal 2008; Yi et al. 2019, "Sampling-bias-corrected
    neural modeling"). A negative that is the row's own target is left out.

    Args:
        queries: (n, d).
        targets: the item acted on after each query, n of them.
        negatives: the m items drawn, shared by all queries.
        log_probability: log of each item's probability of being drawn, (items,).
    """
    correction = log_probability + float(np.log(len(negatives.codes)))
    positive = (queries * targets.vectors).sum(dim=1) - correction[targets.codes]
    negative = queries @ negatives.vectors.T - correction[negatives.codes]
    own = negatives.codes.unsqueeze(0) == targets.codes.unsqueeze(1)
    negative = negative.masked_fill(own, -1e9)
    logits = torch.cat([positive.unsqueeze(1), negative], dim=1)
    return F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))
