"""Texts through the transformer while it is tuned: tokenised once, batched by length."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from worker.encoder.graph import SentenceEncoder
from worker.encoder.source import LoadedModel

_TEXTS_AT_ONCE = 64
"""Of similar length, so that little of a batch is padding."""


class TextTower:
    """A transformer, pooled as it will be served, over a fixed list of texts.

    Args:
        loaded: whose tokenizer is used.
        transformer: what maps the tokens; the loaded model, or an adapted form of it.
        texts: the texts, which are then named by their places.
        max_tokens: where longer ones are cut.
        device: where the transformer is.
        mixed_precision: compute in bfloat16 where torch holds that to be safe.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        transformer: PreTrainedModel,
        texts: list[str],
        max_tokens: int,
        device: torch.device,
        *,
        mixed_precision: bool = False,
    ) -> None:
        self._encoder = SentenceEncoder(transformer)
        self._device = device
        self._mixed_precision = mixed_precision
        loaded.tokenizer.enable_truncation(max_tokens)
        self._tokens = [encoding.ids for encoding in loaded.tokenizer.encode_batch(texts)]
        loaded.tokenizer.no_truncation()
        self._lengths = np.array([len(tokens) for tokens in self._tokens])

    def vectors(self, codes: NDArray[np.integer]) -> Tensor:
        """Return the unit vectors of some texts, float32 (n, d)."""
        order = np.argsort(self._lengths[codes], kind="stable")
        parts = np.array_split(order, max(1, round(len(codes) / _TEXTS_AT_ONCE)))
        ordered = torch.cat([self._forward(codes[part]) for part in parts])
        return ordered[torch.from_numpy(np.argsort(order)).to(self._device)]

    def _forward(self, codes: NDArray[np.integer]) -> Tensor:
        ids = np.zeros((len(codes), self._lengths[codes].max()), np.int64)
        mask = np.zeros_like(ids)
        for row, code in enumerate(codes):
            ids[row, : self._lengths[code]] = self._tokens[code]
            mask[row, : self._lengths[code]] = 1
        inputs = (torch.from_numpy(part).to(self._device) for part in (ids, mask))
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._mixed_precision):
            vectors: Tensor = self._encoder(*inputs)
        return vectors.float()
