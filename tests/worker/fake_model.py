"""A small deterministic model with the worker's model interface: arithmetic instead of training."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from worker.model.interface import UserArrays


class FakeModel:
    """Every event pulls the state towards its target, so the order and number of events matter."""

    dim = 8
    rank = 2
    compiled_loop = None

    def __init__(self, version: str = "fake-1", popular_items: Sequence[str] = ()) -> None:
        self.version = version
        self.device = torch.device("cpu")
        self.popular_items = popular_items
        self.texts_encoded: list[str] = []
        self.adapt_calls: list[int] = []

    def start(self, n: int) -> UserArrays:
        ones = torch.ones(n, self.dim)
        return UserArrays(0.1 * ones, -0.05 * ones, 0.02 * torch.ones(n, self.dim, self.rank))

    def item_vectors(self, item_ids: Sequence[str], texts: Sequence[str]) -> Tensor:
        assert len(item_ids) == len(texts)
        return self._encode(texts)

    def query_vectors(self, texts: Sequence[str]) -> Tensor:
        return self._encode(texts)

    def adapt(
        self, users: UserArrays, targets: Tensor, types: Tensor, gaps: Tensor
    ) -> tuple[UserArrays, Tensor, Tensor]:
        self.adapt_calls.append(len(targets))
        assert types.dtype == torch.int64 and gaps.dtype == torch.float32
        query = self.queries(users)
        error = targets - query
        key = torch.tanh(users.hidden[:, : self.rank])
        weight = (1.0 + 0.1 * types.float())[:, None]
        pause = torch.where(gaps < 0, 0.5, torch.log1p(gaps.clamp(min=0)))[:, None]
        adapted = UserArrays(
            0.8 * users.hidden + 0.2 * weight * targets + 0.01 * pause,
            0.9 * users.bias + 0.3 * error,
            0.95 * users.adapter + 0.1 * error[:, :, None] * key[:, None, :],
        )
        before = error.square().mean(dim=1)
        after = (targets - self.queries(adapted)).square().mean(dim=1)
        return adapted, before, after

    def queries(self, users: UserArrays) -> Tensor:
        key = torch.tanh(users.hidden[:, : self.rank])
        return users.hidden + users.bias + torch.einsum("ndr,nr->nd", users.adapter, key)

    def shift_repeats(self, scores: Tensor, recent: Tensor) -> None:
        newest = recent[:, :1]
        scores.scatter_add_(1, newest.clamp(min=0), torch.where(newest < 0, 0.0, -0.4))

    def _encode(self, texts: Sequence[str]) -> Tensor:
        self.texts_encoded += texts
        vectors = np.empty((len(texts), self.dim), np.float32)
        for i, text in enumerate(texts):
            seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
            vectors[i] = np.random.default_rng(seed).standard_normal(self.dim)
        return torch.from_numpy(vectors) / self.dim**0.5
