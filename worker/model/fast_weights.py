r"""Per-user fast weights and their inner loop: one closed-form gradient step per event.

A user's fast weights are φ = (b, A) with b ∈ R^d and A ∈ R^{d×r}. After session state h the query
is q = h + b + A·k with the key k = tanh(B h). When the user acts on an item with vector v, the
support loss is the softmax cross-entropy of v against M anchor items,

    L(φ) = −log softmax(q·v | v, anchors),     ∂L/∂q = g = Σ_j p_j v_j − v,

so ∂L/∂b = g and ∂L/∂A = g kᵀ, and one gradient step with per-parameter step sizes α and decay λ is

    b ← λ_b ⊙ b − α_b ⊙ g,        A ← λ_A ⊙ A − α_A ⊙ (g kᵀ).

α, λ, B and the starting point φ₀ are meta-learned by back-propagation through the unrolled stream.
Compare MAML (Finn et al. 2017, arXiv:1703.03400), the learned step sizes of Meta-SGD (Li et al.
2017, arXiv:1707.09835), ANIL (Raghu et al. 2020, arXiv:1909.09157), and fast-weight programmers
(Schlag et al. 2021, arXiv:2102.11174).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from worker.model.config import ModelConfig


class FastWeights(NamedTuple):
    """The fast weights of n users, as a structure of arrays."""

    bias: Tensor
    """b, (n, d)."""
    adapter: Tensor
    """A, (n, d, r)."""


class SupportStep(NamedTuple):
    """The result of one inner-loop step for n users."""

    weights: FastWeights
    loss_before: Tensor
    """Support loss at the weights before the step, (n,), in nats."""


class InnerLoop(nn.Module):
    """The meta-learned part of the inner loop: start φ₀, step sizes α, decays λ and keys B."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim, rank = config.dim, config.rank
        self.start_bias = nn.Parameter(torch.zeros(dim))
        self.start_adapter = nn.Parameter(torch.zeros(dim, rank))
        self.step_bias = nn.Parameter(torch.full((dim,), 0.5))
        self.step_adapter = nn.Parameter(torch.full((dim, rank), 0.5 / rank**0.5))
        # sigmoid(2.2) ≈ 0.9: forget a tenth per event until training knows better.
        self.decay_bias_logit = nn.Parameter(torch.full((dim,), 2.2))
        self.decay_adapter_logit = nn.Parameter(torch.full((dim, rank), 2.2))
        self.key_projection = nn.Linear(dim, rank, bias=False)

    def start(self, n: int) -> FastWeights:
        """Return the starting point of `n` users."""
        return FastWeights(self.start_bias.expand(n, -1), self.start_adapter.expand(n, -1, -1))

    def keys(self, hidden: Tensor) -> Tensor:
        """Return k = tanh(B h): (…, d) → (…, r)."""
        return torch.tanh(self.key_projection(hidden))

    def query(self, hidden: Tensor, keys: Tensor, weights: FastWeights) -> Tensor:
        """Return q = h + b + A·k for n users: (n, d)."""
        return hidden + weights.bias + torch.einsum("ndr,nr->nd", weights.adapter, keys)

    def step(
        self, query: Tensor, keys: Tensor, weights: FastWeights, target: Tensor, anchors: Tensor
    ) -> SupportStep:
        """Take one inner-loop step on each user's target.

        Args:
            query: q of these weights, (n, d).
            keys: k, (n, r).
            weights: φ before the step.
            target: vector of the item acted on, (n, d).
            anchors: anchor item vectors, (M, d), the same for all users.
        """
        gradient, loss = support_gradient(query, target, anchors)
        bias = torch.sigmoid(self.decay_bias_logit) * weights.bias - self.step_bias * gradient
        outer = gradient.unsqueeze(2) * keys.unsqueeze(1)
        decayed = torch.sigmoid(self.decay_adapter_logit) * weights.adapter
        return SupportStep(FastWeights(bias, decayed - self.step_adapter * outer), loss)


def support_gradient(query: Tensor, target: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
    """Return ∂L/∂q (n, d) and L (n,) of the support loss in closed form."""
    anchor_logits = query @ anchors.T
    target_logit = (query * target).sum(dim=1, keepdim=True)
    log_normaliser = torch.logaddexp(anchor_logits.logsumexp(dim=1, keepdim=True), target_logit)
    anchor_weights = torch.exp(anchor_logits - log_normaliser)
    target_weight = torch.exp(target_logit - log_normaliser)
    gradient = anchor_weights @ anchors + (target_weight - 1.0) * target
    return gradient, (log_normaliser - target_logit).squeeze(1)


def support_loss(query: Tensor, target: Tensor, anchors: Tensor) -> Tensor:
    """Return L (n,): cross-entropy of each target against itself and the anchors, in nats."""
    target_logit = (query * target).sum(dim=1, keepdim=True)
    logits = torch.cat([target_logit, query @ anchors.T], dim=1)
    return logits.logsumexp(dim=1) - logits[:, 0]
