"""The per-user part of the meta-learned rivals: decision layers and their gradient steps."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Layers(NamedTuple):
    """Weights of the decision layers of n users (or of one, to broadcast)."""

    inner: Tensor
    """(n, d, h)."""
    bias: Tensor
    """(n, 1, h)."""
    outer: Tensor
    """(n, h, d)."""


class Support(NamedTuple):
    """Events of n users to adapt to, at most S of each."""

    states: Tensor
    """Before each event, (n, S, d)."""
    rows: Tensor
    """Of the items acted on, (n, S) int64."""
    vectors: Tensor
    """Of those items, the bias last, (n, S, d + 1)."""
    mask: Tensor
    """Where there is an event, (n, S)."""


class Anchors(NamedTuple):
    """The items that the inner loss contrasts a user's items with, M of them."""

    rows: Tensor
    """(M,) int64."""
    vectors: Tensor
    """(M, d + 1)."""
    log_probability: Tensor
    """Of every known item to be drawn, (known,)."""


def decide(layers: Layers, states: Tensor) -> Tensor:
    """Return the queries of n users: (n, Q, d) → (n, Q, d + 1), the last column 1.

    q = h + relu(h·inner + bias)·outer.
    """
    hidden = F.relu(states @ layers.inner + layers.bias)
    return F.pad(states + hidden @ layers.outer, (0, 1), value=1.0)


def support_losses(layers: Layers, support: Support, anchors: Anchors) -> Tensor:
    """Return each user's mean loss over the support events, (n,); 0 without any.

    The sampled softmax of `next_item_loss`, per user and without the latest item's term.
    """
    queries = decide(layers, support.states)
    expected = anchors.log_probability[anchors.rows] + math.log(len(anchors.rows))
    positive = (queries * support.vectors).sum(dim=2)
    negative = queries @ anchors.vectors.T - expected
    own = support.rows.unsqueeze(2) == anchors.rows
    negative = negative.masked_fill(own, -1e9)
    losses = torch.logsumexp(torch.cat([positive.unsqueeze(2), negative], dim=2), dim=2) - positive
    mask = support.mask.to(losses.dtype)
    return (losses * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)


class DecisionLayers(nn.Module):
    """The start of every user's decision layers, and the gradient steps from there.

    Args:
        dim: d.
        hidden: h.
        steps: gradient steps per adaptation.
        rate: step size at the start.
        head_only: adapt the outer weights alone (ANIL).
        second_order: let the meta-gradient flow through the steps' own gradients (MAML); without,
            they count as constants (first-order MAML).
        learn_rates: one learned step size per adapted weight (Antoniou et al. 2019, "How to train
            your MAML").
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        *,
        steps: int,
        rate: float,
        head_only: bool,
        second_order: bool,
        learn_rates: bool,
    ) -> None:
        super().__init__()
        self.steps = steps
        self.second_order = second_order
        self._adapted = ("outer",) if head_only else Layers._fields
        self.inner = nn.Parameter(torch.randn(dim, hidden) * dim**-0.5)
        self.bias = nn.Parameter(torch.zeros(1, hidden))
        self.outer = nn.Parameter(torch.randn(hidden, dim) * 0.1 * hidden**-0.5)
        rates = torch.full((len(self._adapted),), rate).log()
        self.log_rates = nn.Parameter(rates, requires_grad=learn_rates)

    def start(self) -> Layers:
        """Return the start, for one user, to broadcast."""
        return Layers(self.inner.unsqueeze(0), self.bias.unsqueeze(0), self.outer.unsqueeze(0))

    def adapt(self, support: Support, anchors: Anchors) -> Layers:
        """Return every user's layers after `steps` steps on all of the user's support events."""
        users = len(support.rows)
        layers = Layers(*(part.expand(users, -1, -1) for part in self.start()))
        keep_graph = torch.is_grad_enabled()
        with torch.enable_grad():
            if not keep_graph:
                layers = Layers(*(part.detach().requires_grad_() for part in layers))
            for _ in range(self.steps):
                layers = self._step(layers, support, anchors, keep_graph=keep_graph)
        return layers

    def _step(
        self, layers: Layers, support: Support, anchors: Anchors, *, keep_graph: bool
    ) -> Layers:
        # Each user's loss depends on that user's layers alone: the gradient of the sum holds all.
        loss = support_losses(layers, support, anchors).sum()
        adapted = [getattr(layers, name) for name in self._adapted]
        gradients = torch.autograd.grad(
            loss,
            adapted,
            create_graph=keep_graph and self.second_order,
            retain_graph=keep_graph,
        )
        stepped = {
            name: part - rate * gradient
            for name, part, rate, gradient in zip(
                self._adapted, adapted, self.log_rates.exp(), gradients, strict=True
            )
        }
        if not keep_graph:
            stepped = {name: part.detach().requires_grad_() for name, part in stepped.items()}
        return layers._replace(**stepped)
