r"""Per-user fast weights and their inner loop: one closed-form gradient step per event.

A user's fast weights are φ = (b, A) with b ∈ R^d and A ∈ R^{d×r}. After session state h the query
is q = h + b + A·k with the key k = tanh(B h). When the user acts on an item with vector v, the
support loss is the softmax cross-entropy of v against M anchor items,

    L(φ) = −log softmax(q·v | v, anchors),     ∂L/∂q = g = Σ_j p_j v_j − v,

so ∂L/∂b = g and ∂L/∂A = g kᵀ, and one gradient step with per-parameter step sizes α and decay λ is

    b ← λ_b ⊙ b − α_b ⊙ g,        A ← λ_A ⊙ A − α_A ⊙ (g kᵀ).

α, λ, B and the starting point φ₀ are meta-learned by back-propagation through the unrolled stream.
Options, off by default: several steps on an event, which decay once; a factor on α that depends on
the event's type; a λ that depends on the time since the user's previous event; and a temperature τ
of the softmax, L(φ) = −log softmax(τ q·v), whose gradient is τ g at the scaled logits.
Compare MAML (Finn et al. 2017, arXiv:1703.03400), the learned step sizes of Meta-SGD (Li et al.
2017, arXiv:1707.09835), ANIL (Raghu et al. 2020, arXiv:1909.09157), and fast-weight programmers
(Schlag et al. 2021, arXiv:2102.11174).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from schemas.clickstream import EventType
from worker.model.config import ModelConfig
from worker.model.gaps import gap_bucket
from worker.model.inner_loop_kernel import Rates


class FastWeights(NamedTuple):
    """The fast weights of n users, as a structure of arrays."""

    bias: Tensor
    """b, (n, d)."""
    adapter: Tensor
    """A, (n, d, r)."""


class Support(NamedTuple):
    """What each of n users did: the support set of one inner-loop step."""

    targets: Tensor
    """Vector of what the user acted on, (n, d)."""
    types: Tensor
    """Rows of `EVENT_TYPE_INDEX`, int64 (n,)."""
    gaps: Tensor
    """Seconds since the user's previous event, (n,); negative if none."""


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
        self._steps = config.inner_steps
        self._gap_buckets = config.gap_buckets
        self.type_log_factor = _zeros(len(EventType)) if config.type_steps else None
        # One more: the user's first event has no gap.
        self.gap_decay_shift = _zeros(config.gap_buckets + 1) if config.timed_forgetting else None
        self.log_temperature = _zeros(1) if config.inner_temperature else None

    @property
    def steps(self) -> int:
        """Gradient steps on each event."""
        return self._steps

    @torch.no_grad()
    def rates(self) -> Rates:
        """Return the step sizes, and the decays by what `decay_rows` gives."""
        shifts: Tensor = torch.zeros(1) if self.gap_decay_shift is None else self.gap_decay_shift
        decay_bias = torch.sigmoid(self.decay_bias_logit + shifts.view(-1, 1))
        decay_adapter = torch.sigmoid(self.decay_adapter_logit + shifts.view(-1, 1, 1))
        tensors = (self.step_bias, self.step_adapter, decay_bias, decay_adapter)
        return Rates(*(tensor.detach().contiguous().numpy() for tensor in tensors))

    def decay_rows(self, gaps: Tensor) -> Tensor:
        """Return the rows of the decays of `rates` for these gaps, int64 (n,)."""
        if self.gap_decay_shift is None:
            return torch.zeros(len(gaps), dtype=torch.long)
        return gap_bucket(gaps, self._gap_buckets)

    def factors(self, types: Tensor) -> Tensor | None:
        """Return the factor on the step sizes of events of these types, (n,); None for 1."""
        return None if self.type_log_factor is None else self.type_log_factor[types].exp()

    def temperature(self) -> float | None:
        """Return the temperature τ of the softmax; None for 1."""
        return None if self.log_temperature is None else float(self.log_temperature.exp())

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
        self,
        query: Tensor,
        keys: Tensor,
        weights: FastWeights,
        support: Support,
        anchors: Tensor,
        *,
        first_order: bool = False,
    ) -> SupportStep:
        """Take the inner loop's steps on what each user did.

        Args:
            query: q of these weights, (n, d).
            keys: k, (n, r).
            weights: φ before the step.
            support: what the users did.
            anchors: anchor item vectors, (M, d), the same for all users.
            first_order: take ∂L/∂φ as a constant when this step is differentiated (first-order
                MAML, arXiv:1703.03400, section 5.2); its value is the same.
        """
        decayed = self._decayed(weights, support.gaps)
        factor = self.factors(support.types)
        before, targets = weights, support.targets
        first_loss: Tensor | None = None
        for _ in range(self._steps):
            gradient, loss = self._gradient(query, targets, anchors, first_order=first_order)
            outer = gradient.unsqueeze(2) * (keys.detach() if first_order else keys).unsqueeze(1)
            step_bias, step_adapter = self.step_bias * gradient, self.step_adapter * outer
            if factor is not None:
                step_bias = factor.unsqueeze(1) * step_bias
                step_adapter = factor.view(-1, 1, 1) * step_adapter
            after = FastWeights(decayed.bias - step_bias, decayed.adapter - step_adapter)
            first_loss = loss if first_loss is None else first_loss
            if self._steps > 1:
                query = query + self._change(before, after, keys)
                before = decayed = after
        assert first_loss is not None  # there is a step at least
        return SupportStep(after, first_loss)

    def support_loss(self, query: Tensor, targets: Tensor, anchors: Tensor) -> Tensor:
        """Return L (n,) of queries (n, d) whose users acted on `targets` (n, d), in nats."""
        return support_loss(self._scaled(query), targets, anchors)

    def _gradient(
        self, query: Tensor, targets: Tensor, anchors: Tensor, *, first_order: bool
    ) -> tuple[Tensor, Tensor]:
        if first_order:
            query, targets, anchors = query.detach(), targets.detach(), anchors.detach()
        gradient, loss = support_gradient(self._scaled(query), targets, anchors)
        return self._scaled(gradient), loss

    def _scaled(self, tensor: Tensor) -> Tensor:
        if self.log_temperature is None:
            return tensor
        return self.log_temperature.exp() * tensor

    def _decayed(self, weights: FastWeights, gaps: Tensor) -> FastWeights:
        bias: Tensor = self.decay_bias_logit
        adapter: Tensor = self.decay_adapter_logit
        if self.gap_decay_shift is not None:
            shift = self.gap_decay_shift[gap_bucket(gaps, self._gap_buckets)]
            bias, adapter = bias + shift.unsqueeze(1), adapter + shift.view(-1, 1, 1)
        return FastWeights(
            torch.sigmoid(bias) * weights.bias, torch.sigmoid(adapter) * weights.adapter
        )

    @staticmethod
    def _change(before: FastWeights, after: FastWeights, keys: Tensor) -> Tensor:
        of_adapter = torch.einsum("ndr,nr->nd", after.adapter - before.adapter, keys)
        return after.bias - before.bias + of_adapter


def _zeros(size: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(size))


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
