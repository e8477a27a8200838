"""The recurrent session encoder: a GRU that consumes one event in O(1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from schemas.clickstream import EventType
from worker.model.config import ModelConfig
from worker.model.gaps import gap_bucket


class SessionEncoder(nn.Module):
    """GRU over a user's events (Cho et al. 2014, arXiv:1406.1078; GRU4Rec, arXiv:1511.06939).

    An event enters as the sum of its item's vector, an event-type embedding and an embedding of
    the time since the user's previous event.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gap_buckets = config.gap_buckets
        self.type_embedding = nn.Embedding(len(EventType), config.dim)
        # One more row: the user's first event has no gap.
        self.gap_embedding = nn.Embedding(config.gap_buckets + 1, config.dim)
        self.gru = nn.GRU(config.dim, config.dim, batch_first=True)
        self.start_hidden = nn.Parameter(torch.zeros(config.dim))
        nn.init.zeros_(self.type_embedding.weight)
        nn.init.zeros_(self.gap_embedding.weight)

    def inputs(self, vectors: Tensor, types: Tensor, gaps: Tensor) -> Tensor:
        """Return the GRU's input for events: (…, d), (…), (…) → (…, d).

        Args:
            vectors: item vectors.
            types: rows of `EVENT_TYPE_INDEX`, int64.
            gaps: seconds since the user's previous event; negative where there is none.
        """
        of_type: Tensor = self.type_embedding(types)
        of_gap: Tensor = self.gap_embedding(gap_bucket(gaps, self.gap_buckets))
        return vectors + of_type + of_gap

    def unroll(self, inputs: Tensor) -> Tensor:
        """Return the states before each event and after the last: (n, T, d) → (n, T + 1, d)."""
        start = self.start_hidden.expand(inputs.shape[0], -1)
        if inputs.shape[1] == 0:  # nothing happened yet, and the GRU refuses to run on nothing
            return start.unsqueeze(1)
        states, _ = self.gru(inputs, start.unsqueeze(0).contiguous())
        return torch.cat([start.unsqueeze(1), states], dim=1)

    def step(self, hidden: Tensor, inputs: Tensor) -> Tensor:
        """Return the state after one event: (n, d), (n, d) → (n, d)."""
        after: Tensor
        _, after = self.gru(inputs.unsqueeze(1), hidden.unsqueeze(0).contiguous())
        return after.squeeze(0)
