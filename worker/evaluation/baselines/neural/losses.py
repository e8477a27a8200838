"""The next-item softmax of the rivals trained here, over a sample of the items."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from worker.evaluation.baselines.prefixes import NO_EVENT

_NEVER = -1e9


class Candidates(NamedTuple):
    """Items to choose from: their rows (…) and their vectors (…, d)."""

    rows: Tensor
    vectors: Tensor


def next_item_loss(
    queries: Tensor,
    targets: Candidates,
    latest: Candidates,
    drawn: Candidates,
    *,
    log_probability: Tensor,
    repeat: Tensor,
) -> Tensor:
    """Return the mean cross-entropy of n targets against a sampled softmax, in nats.

    The normaliser is estimated, without bias, as

        Z = e^s(target) + e^s(latest) + Σ_drawn e^s(j) / (m·p(j)):

    the target and the user's latest item are always there, the others as often as they are drawn
    (importance sampling; Bengio and Senécal 2008, "Adaptive importance sampling to accelerate
    training of a neural probabilistic language model"). Draws rarely hold the latest item, so it
    has a term of its own; `repeat` is what its score gains by being the latest.

    Args:
        queries: (n, d).
        targets: n items acted on.
        latest: the n items before; `NO_EVENT` where there is none.
        drawn: m items, drawn with replacement, shared by all queries.
        log_probability: of each item to be drawn, by row.
        repeat: a scalar.
    """
    is_repeat = (latest.rows == targets.rows).unsqueeze(1)
    positive = (queries * targets.vectors).sum(dim=1, keepdim=True) + repeat * is_repeat
    before = (queries * latest.vectors).sum(dim=1, keepdim=True) + repeat
    before = before.masked_fill(is_repeat | (latest.rows == NO_EVENT).unsqueeze(1), _NEVER)
    expected = log_probability[drawn.rows] + math.log(len(drawn.rows))
    others = queries @ drawn.vectors.T - expected
    is_there = drawn.rows == targets.rows.unsqueeze(1)
    is_there |= drawn.rows == latest.rows.unsqueeze(1)
    logits = torch.cat([positive, before, others.masked_fill(is_there, _NEVER)], dim=1)
    return F.cross_entropy(logits, torch.zeros_like(targets.rows))
