"""Fit the repeat bias on held-out users, against the softmax over the whole catalogue."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from worker.model.repeat_bias import RepeatBias
from worker.rows import NO_ITEM

_RIDGE = 1e-2
"""Pull towards no shift, in nats per event and unit of shift squared, over the event count.

Bounds the shift of a recency at which nothing was ever repeated."""

_CHUNK_SCORES = 1 << 25


@dataclass(frozen=True)
class RepeatCases:
    """What the fit needs of n queries: everything else of the softmax is constant."""

    log_normaliser: Tensor
    """Log of the summed exponentiated scores of all items, unshifted, (n,)."""
    target_scores: Tensor
    """Unshifted, (n,)."""
    recent_scores: Tensor
    """Unshifted, (n, r)."""
    recent: Tensor
    """Rows of the latest items, newest first, (n, r)."""
    targets: Tensor
    """Rows of the targets, (n,)."""


def repeat_cases(
    queries: Tensor, item_vectors: Tensor, targets: Tensor, recent: Tensor
) -> RepeatCases:
    """Score the catalogue (items, d) for queries (n, d) and keep what the fit needs."""
    chunk = max(1, _CHUNK_SCORES // len(item_vectors))
    normaliser = torch.cat(
        [(part @ item_vectors.T).logsumexp(dim=1) for part in torch.split(queries, chunk)]
    )
    return RepeatCases(
        log_normaliser=normaliser,
        target_scores=(queries * item_vectors[targets]).sum(dim=1),
        recent_scores=torch.einsum("nd,nrd->nr", queries, item_vectors[recent.clamp(min=0)]),
        recent=recent,
        targets=targets,
    )


def fit_repeat_bias(bias: RepeatBias, cases: RepeatCases) -> None:
    """Set the shifts to those of least cross-entropy over the cases (L-BFGS; it is convex).

    With shifts s the normaliser Z becomes Z + Σ_r e^{x_r}(e^{s_r} − 1) over the recent items'
    scores x, so the catalogue is scored only once.
    """
    bias.shift.requires_grad_(True)
    optimizer = torch.optim.LBFGS([bias.shift], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = _cross_entropy(bias, cases) + _RIDGE / len(cases.targets) * (bias.shift**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    bias.shift.requires_grad_(False)


def _cross_entropy(bias: RepeatBias, cases: RepeatCases) -> Tensor:
    amounts = bias.amounts(cases.recent)
    share = torch.exp(cases.recent_scores - cases.log_normaliser.unsqueeze(1))
    change = (share * torch.expm1(amounts)).sum(dim=1)
    normaliser = cases.log_normaliser + torch.log1p(change.clamp(min=-1 + 1e-6))
    is_target = (cases.recent == cases.targets.unsqueeze(1)) & (cases.recent != NO_ITEM)
    own_shift = (amounts * is_target).sum(dim=1)
    return (normaliser - cases.target_scores - own_shift).mean()
