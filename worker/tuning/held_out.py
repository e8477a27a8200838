"""Texts that the tuning never sees, and whether it brings together what users act on together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from worker.ranking import target_ranks
from worker.ranking_quality import TOP
from worker.tuning.text_pairs import TextPairs
from worker.tuning.text_tower import TextTower

_MOST_PAIRS = 1000
_NEVER = -1e9


@dataclass(frozen=True)
class Retrieval:
    """How near the second texts of held-out pairs are to the first."""

    loss: float
    """Mean −log softmax of the second text among all held-out texts, nats."""
    recall: float
    """Share of pairs whose second text is among the 20 nearest held-out texts."""


class HeldOutTexts:
    """Pairs of any text with a held-out one, which is to be found among all held-out texts.

    Args:
        pairs: those with at least one held-out text.
        held_out: which texts are, (texts,).
        rng: draws the pairs to measure on, ∝ weight, where there are more than enough.
    """

    def __init__(
        self, pairs: TextPairs, held_out: NDArray[np.bool_], rng: np.random.Generator
    ) -> None:
        self.texts = np.flatnonzero(held_out)
        drawn = np.unique(pairs.draw(_MOST_PAIRS, rng))
        one, other = pairs.left[drawn], pairs.right[drawn]
        # Towards the held-out text; either way where both are.
        turned = np.where(
            held_out[one] & held_out[other], rng.random(len(one)) < 0.5, held_out[one]
        )
        self.queries = np.where(turned, other, one)
        self.targets = np.where(turned, one, other)

    def __len__(self) -> int:
        return len(self.queries)

    @torch.no_grad()
    def measure(self, tower: TextTower, temperature: float) -> Retrieval:
        """Measure the tower's vectors as they are now."""
        asked, query_rows = np.unique(self.queries, return_inverse=True)
        candidates = tower.vectors(self.texts)
        queries = tower.vectors(asked)[torch.from_numpy(query_rows).to(candidates.device)]
        targets = torch.from_numpy(np.searchsorted(self.texts, self.targets)).to(candidates.device)
        # A query that is a candidate itself is not an answer; others have nothing to leave out.
        itself = np.searchsorted(self.texts, self.queries).clip(max=len(self.texts) - 1)
        is_candidate = self.texts[itself] == self.queries
        own = torch.from_numpy(itself).to(candidates.device)
        own = torch.where(torch.from_numpy(is_candidate).to(own.device), own, targets)
        ranks = target_ranks(queries, candidates, targets, excluded=own.unsqueeze(1))
        logits = queries @ candidates.T / temperature
        blocked = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, own.unsqueeze(1), True)
        blocked.scatter_(1, targets.unsqueeze(1), False)
        loss = F.cross_entropy(logits.masked_fill(blocked, _NEVER), targets)
        return Retrieval(loss.item(), float((ranks < TOP).double().mean().item()))
