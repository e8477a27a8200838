"""The item tower: v = W·text + E, so that an item is recommendable from its text alone."""

from __future__ import annotations

from torch import Tensor, nn

from worker.model.config import ModelConfig


class ItemTower(nn.Module):
    """Item vectors from text vectors and, for items known in training, an id embedding.

    The id embedding is dropped at random in training, so that the text part learns to stand alone
    (compare DropoutNet, Volkovs et al. 2017).
    """

    def __init__(self, config: ModelConfig, known_items: int) -> None:
        super().__init__()
        self.text_projection = nn.Linear(config.text_dim, config.dim)
        self.id_embedding = nn.Embedding(known_items, config.dim)
        nn.init.normal_(self.id_embedding.weight, std=0.05)
        # Text vectors have unit length, so this makes the parts of comparable size.
        nn.init.normal_(self.text_projection.weight, std=0.3)
        nn.init.zeros_(self.text_projection.bias)

    def forward(self, text_vectors: Tensor, rows: Tensor, id_weight: Tensor) -> Tensor:
        """Return item vectors (…, d).

        Args:
            text_vectors: (…, text_dim).
            rows: row of each item's id embedding, (…), int64; any valid row where there is none.
            id_weight: factor on the id embedding, (…): 0 drops it.
        """
        embedded: Tensor = self.id_embedding(rows)
        return self.text_only(text_vectors) + id_weight.unsqueeze(-1) * embedded

    def text_only(self, text_vectors: Tensor) -> Tensor:
        """Return the vectors of items or search queries known by their text alone."""
        projected: Tensor = self.text_projection(text_vectors)
        return projected
