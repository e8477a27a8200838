"""The learned mix of what the user's weights say with what the item memory knows.

Candidates (`worker.item_memory.memory.Candidates`) are scored by the user's query q and by a small
network f over what the memory knows of them and of the user, so item j scores

    s(j) = q·v_j + f(features of j, context of the user)   if j is a candidate, else q·v_j,

which is a log-linear mixture of experts with weights that depend on the evidence: f learns how far
to trust the memory after so many events, with so many observations of this item. It is fitted by
maximum likelihood over the whole catalogue (`worker.training.mixer_fit`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from worker.item_memory.kernels import CONTEXT, FEATURES
from worker.item_memory.memory import Candidates
from worker.model.similarity import similarity_to_latest

_DENSE_FEATURES = 2
"""The inner product against the reference, and the similarity to the latest item."""

_START_WEIGHT = 0.7
"""Of the first feature, before fitting."""


@dataclass(frozen=True)
class Pairs:
    """P candidates of n users as tensors, with what the item vectors say of them."""

    users: Tensor
    """Which of the n users each is a candidate of, (P,), int64, ascending."""
    items: Tensor
    """Item rows, (P,), int64."""
    numbers: Tensor
    """Features, (P, F + 2): those of the memory, then log-odds of q·v against the strongest items,
    then the cosine of v and the vector of the user's latest item (0 without one)."""
    recency: Tensor
    """(P,), int64; 0 is "not recent"."""
    link: Tensor
    """(P,), int64; 0 is "no link"."""
    context: Tensor
    """(n, C)."""
    dense: Tensor
    """q·v, (P,)."""


def pairs_of(
    candidates: Candidates, scores: Tensor, reference: Tensor, vectors: Tensor, latest: Tensor
) -> Pairs:
    """Put candidates and what the item vectors say of them into tensors.

    Args:
        candidates: of n users.
        scores: inner products with all items, (n, items).
        reference: log-sum-exp of each user's strongest inner products, (n,).
        vectors: item vectors, (items, d).
        latest: row of each user's latest item, `NO_ITEM` without one, (n,).
    """
    device = scores.device
    sizes = torch.from_numpy(np.diff(candidates.pointers)).to(device)
    users = torch.repeat_interleave(torch.arange(len(sizes), device=device), sizes)
    items = torch.from_numpy(candidates.rows.astype(np.int64)).to(device)
    dense = scores[users, items]
    similarity = similarity_to_latest(vectors, items, users, latest)
    numbers = torch.cat(
        [
            torch.from_numpy(candidates.features).to(device),
            # An item that may not be recommended has −∞, and so has the reference if none may: it
            # must not become NaN on the way.
            (dense - reference[users]).nan_to_num(nan=-50.0).clamp(min=-50.0).unsqueeze(1),
            similarity.unsqueeze(1),
        ],
        dim=1,
    )
    return Pairs(
        users=users,
        items=items,
        numbers=numbers,
        recency=torch.from_numpy(candidates.recency.astype(np.int64)).to(device) + 1,
        link=torch.from_numpy(candidates.link.astype(np.int64)).to(device) + 1,
        context=torch.from_numpy(candidates.context).to(device),
        dense=dense,
    )


class Mixer(nn.Module):
    """f: from candidates to what is added to their inner products.

    Args:
        hidden: width of the hidden layer.
        recent: recent items that candidates come from.
    """

    def __init__(self, hidden: int, recent: int) -> None:
        super().__init__()
        numbers = len(FEATURES) + _DENSE_FEATURES
        self.number_mean = nn.Buffer(torch.zeros(numbers))
        self.number_scale = nn.Buffer(torch.ones(numbers))
        self.context_mean = nn.Buffer(torch.zeros(len(CONTEXT)))
        self.context_scale = nn.Buffer(torch.ones(len(CONTEXT)))
        self.of_numbers = nn.Linear(numbers, hidden)
        self.of_context = nn.Linear(len(CONTEXT), hidden, bias=False)
        self.of_recency = nn.Embedding(recent + 1, hidden)
        self.of_link = nn.Embedding(recent + 1, hidden)
        self.output = nn.Linear(hidden, 1)
        self.share_weight = nn.Parameter(torch.tensor(_START_WEIGHT))
        # At first f is one feature alone, which is a fair mix already.
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        nn.init.normal_(self.of_recency.weight, std=0.1)
        nn.init.normal_(self.of_link.weight, std=0.1)

    def standardise(self, numbers: Tensor, context: Tensor) -> None:
        """Take the scales of the inputs from examples, (P, F + 2) and (n, C)."""
        for values, mean, scale in (
            (numbers, self.number_mean, self.number_scale),
            (context, self.context_mean, self.context_scale),
        ):
            mean.copy_(values.mean(dim=0))
            scale.copy_(values.std(dim=0).clamp(min=1e-3))

    @torch.no_grad()
    def add_nothing(self) -> None:
        """Become f = 0: the memory has no say."""
        for parameter in (self.output.weight, self.output.bias, self.share_weight):
            parameter.zero_()

    def forward(self, pairs: Pairs) -> Tensor:
        """Return what is added to each candidate's inner product, (P,)."""
        numbers = (pairs.numbers - self.number_mean) / self.number_scale
        context = self.of_context((pairs.context - self.context_mean) / self.context_scale)
        # `embedding` and not indexing: its gradient adds up in a fixed order, whatever the threads.
        hidden = self.of_numbers(numbers) + nn.functional.embedding(pairs.users, context)
        hidden = hidden + self.of_recency(pairs.recency) + self.of_link(pairs.link)
        learned: Tensor = self.output(nn.functional.gelu(hidden)).squeeze(1)
        return self.share_weight * pairs.numbers[:, 0] + learned
