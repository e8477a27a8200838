"""The sampled softmax of the neural rivals against the full one."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from worker.evaluation.baselines.neural.losses import Candidates, next_item_loss

ITEMS, DIM, N = 12, 3, 5


def _setting() -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    vectors = torch.randn(ITEMS, DIM, dtype=torch.float64)
    queries = torch.randn(N, DIM, dtype=torch.float64)
    targets, latest = torch.tensor([0, 1, 2, 3, 3]), torch.tensor([1, 2, 2, 4, -1])
    probability = torch.rand(ITEMS, dtype=torch.float64) + 0.05
    return vectors, queries, targets, latest, probability / probability.sum()


def _loss(drawn: torch.Tensor, repeat: float = 0.0) -> torch.Tensor:
    vectors, queries, targets, latest, probability = _setting()
    return next_item_loss(
        queries,
        Candidates(targets, vectors[targets]),
        Candidates(latest, vectors[latest]),
        Candidates(drawn, vectors[drawn]),
        log_probability=probability.log(),
        repeat=torch.tensor(repeat, dtype=torch.float64),
    )


def test_with_many_draws_it_is_the_full_cross_entropy():
    vectors, queries, targets, latest, probability = _setting()
    drawn = torch.multinomial(probability, 400_000, replacement=True)
    scores = queries @ vectors.T
    for row, before in enumerate(latest.tolist()):
        if before >= 0:
            scores[row, before] += 1.5
    full = F.cross_entropy(scores, targets)
    torch.testing.assert_close(_loss(drawn, repeat=1.5), full, atol=5e-3, rtol=0)


def test_the_latest_item_counts_though_it_is_not_drawn():
    vectors, queries, targets, latest, probability = _setting()
    scores = (queries * vectors[latest]).sum(dim=1)
    scores = scores.masked_fill((latest == targets) | (latest < 0), -torch.inf)
    positive = (queries * vectors[targets]).sum(dim=1)
    other = queries @ vectors[7] - probability[7].log()
    terms = torch.stack([positive, scores, other], dim=1)
    expected = (terms.logsumexp(dim=1) - positive).mean()
    torch.testing.assert_close(_loss(torch.tensor([7])), expected)
