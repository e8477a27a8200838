"""The whole adaptation model, unrolled over streams of events for meta-training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from worker.model.config import ModelConfig
from worker.model.fast_weights import InnerLoop, Support
from worker.model.item_tower import ItemTower
from worker.model.mixer import Mixer
from worker.model.repeat_bias import RepeatBias
from worker.model.session_encoder import SessionEncoder


class MetaRecommender(nn.Module):
    """Everything that training learns: item tower, session encoder, inner loop, repeat bias, mixer.

    A model with an item memory has a mixer and ranks with it; the repeat bias is for ranking
    without the memory.
    """

    def __init__(self, config: ModelConfig, known_items: int) -> None:
        super().__init__()
        self.config = config
        self.items = ItemTower(config, known_items)
        self.session = SessionEncoder(config)
        self.inner_loop = InnerLoop(config)
        self.repeat = RepeatBias(config)
        memory = config.memory
        self.mixer = None if memory is None else Mixer(config.mixer, memory.recent)
        self.tasks: nn.Module | None = None
        """Heads for further tasks in training; never in a bundle."""

    def serving_state(self) -> dict[str, Tensor]:
        """Return the tensors that serving needs, by name: all but the heads of further tasks."""
        return {
            name: tensor
            for name, tensor in self.state_dict().items()
            if not name.startswith("tasks.")
        }

    def unroll(
        self,
        vectors: Tensor,
        types: Tensor,
        gaps: Tensor,
        anchors: Tensor,
        *,
        adapt: bool = True,
        first_order: bool = False,
    ) -> Tensor:
        """Return the query before each event of n users' streams: (n, T, d).

        The stream is the worker's own: query, then one inner-loop step on the event's item, then
        the session encoder consumes the event. Back-propagating through it gives the exact
        (second-order) meta-gradient, unless `first_order`.

        Args:
            vectors: item vectors of the events, (n, T, d).
            types: event types, (n, T), int64.
            gaps: seconds since the previous event, (n, T); negative for the first.
            anchors: anchor vectors, (M, d).
            adapt: False switches the inner loop off: the fast weights stay at their start.
            first_order: see `InnerLoop.step`.
        """
        length = vectors.shape[1]
        inputs = self.session.inputs(vectors[:, :-1], types[:, :-1], gaps[:, :-1])
        hidden = self.session.unroll(inputs)
        keys = self.inner_loop.keys(hidden)
        weights = self.inner_loop.start(vectors.shape[0])
        queries = []
        for t in range(length):
            query = self.inner_loop.query(hidden[:, t], keys[:, t], weights)
            queries.append(query)
            if adapt and t + 1 < length:
                support = Support(vectors[:, t], types[:, t], gaps[:, t])
                weights = self.inner_loop.step(
                    query, keys[:, t], weights, support, anchors, first_order=first_order
                ).weights
        return torch.stack(queries, dim=1)
