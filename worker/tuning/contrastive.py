"""The loss: texts of one pair closer to each other than to the other texts of the batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.tuning.text_pairs import TextPairs

_NEVER = -1e9


@dataclass(frozen=True)
class PairBatch:
    """Pairs drawn for one step, as counts over the distinct texts among them."""

    texts: NDArray[np.int32]
    """Codes of the distinct texts, (u,)."""
    counts: Tensor
    """How often two texts were drawn as a pair: symmetric, zero on the diagonal, (u, u)."""


def draw_batch(pairs: TextPairs, count: int, rng: np.random.Generator) -> PairBatch:
    """Draw `count` pairs; a text that comes more than once is in the batch once."""
    drawn = pairs.draw(count, rng)
    both = np.concatenate([pairs.left[drawn], pairs.right[drawn]])
    texts, places = np.unique(both, return_inverse=True)
    one, other = places[:count], places[count:]
    counts = np.zeros((len(texts), len(texts)), np.float32)
    np.add.at(counts, (one, other), 1.0)
    np.add.at(counts, (other, one), 1.0)
    return PairBatch(texts, torch.from_numpy(counts))


def log_inclusion(pairs: TextPairs, texts: int, count: int) -> Tensor:
    """Return the log of each text's probability to be in a batch of `count` pairs, (texts,).

    A pair has the text with probability p, so a batch does with 1 − (1 − p)^count. For rare texts
    that is count · p: the correction of Yi et al. (RecSys 2019), who keep repetitions.
    """
    probability = np.minimum(pairs.masses(texts) / pairs.weights.sum(), 1 - 1e-9)
    included = -np.expm1(count * np.log1p(-probability))
    return torch.from_numpy(np.log(np.maximum(included, 1e-12)).astype(np.float32))


def contrastive_loss(
    vectors: Tensor, counts: Tensor, temperature: float, log_inclusion: Tensor | None = None
) -> Tensor:
    """Return the mean loss over the batch's pairs, both ways round, in nats.

    InfoNCE (van den Oord, Li and Vinyals, 2018) with in-batch negatives, as in Henderson et al.,
    "Efficient Natural Language Response Suggestion" (2017): for texts i, j of a pair

        −log exp(v_i·v_j / τ − log π_j) / Σ_{k ≠ i} exp(v_i·v_k / τ − log π_k)

    over the batch's distinct texts, so that no text is its own negative, nor that of its copy.

    Args:
        vectors: unit vectors of the batch's texts, (u, d).
        counts: as in `PairBatch`, (u, u).
        temperature: τ.
        log_inclusion: log π of the batch's texts, (u,), takes popularity out of the negatives;
            None leaves it in.
    """
    logits = vectors @ vectors.T / temperature
    if log_inclusion is not None:
        logits = logits - log_inclusion
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    # A product with the counts and no picking of rows: its gradient adds up in a fixed order.
    log_probability = torch.log_softmax(logits.masked_fill(itself, _NEVER), dim=1)
    return -(counts * log_probability).sum() / counts.sum()
