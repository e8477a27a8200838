"""SASRec: self-attention over a user's events, trained with the softmax cross-entropy.

Kang and McAuley, "Self-Attentive Sequential Recommendation" (ICDM 2018, arXiv:1808.09781), with the
loss of Klenitskiy and Vasilev, "Turning Dross Into Gold Loss: is BERT4Rec really better than
SASRec?" (RecSys 2023, arXiv:2309.07602): softmax cross-entropy at every position, here over a
weighted sample of the items (`next_item_loss`). From torch's own transformer layers: of the
libraries that install beside numpy 2 and this torch, Cornac 3.0's SASRec trains on one padded
example per prefix, many times the work, and its cross-entropy does not weight what it draws.

A learned vector stands before the first event, so that it is predicted too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from worker.data import EventLog
from worker.evaluation.baselines.base import Setting, settings_of
from worker.evaluation.baselines.neural.catalogue import Catalogue
from worker.evaluation.baselines.neural.fitting import FitSettings, Fitter
from worker.evaluation.baselines.neural.model import (
    ItemTable,
    NextItemModel,
    hidden_from_model,
    with_one,
)
from worker.evaluation.baselines.neural.scoring import StreamScorer
from worker.evaluation.baselines.neural.seeding import seeded
from worker.evaluation.baselines.prefixes import LastResult
from worker.evaluation.top_lists import TopLists
from worker.model.serving import pick_device


class SASRecModel(NextItemModel):
    """A causal transformer over item vectors and learned positions.

    Args:
        known: number of items.
        dim: d.
        blocks: number of layers.
        heads: attention heads per layer.
        dropout: of the inputs, of the attention and in the feed-forward parts.
        hide: share of events hidden in training.
        longest: number of positions; of longer histories, the latest events count.
    """

    def __init__(
        self,
        known: int,
        *,
        dim: int,
        blocks: int,
        heads: int,
        dropout: float,
        hide: float,
        longest: int,
    ) -> None:
        super().__init__(ItemTable(known, dim, spread=dim**-0.5))
        self._hide = hide
        self._longest = longest
        self._start = nn.Parameter(torch.zeros(dim))
        self._positions = nn.Parameter(torch.empty(longest, dim).normal_(0.0, 0.02))
        self._dropout = nn.Dropout(dropout)
        layer = nn.TransformerEncoderLayer(
            dim, heads, dim, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        self._encoder = nn.TransformerEncoder(
            layer, blocks, norm=nn.LayerNorm(dim), enable_nested_tensor=False
        )

    def queries(self, rows: Tensor) -> Tensor:
        """See `NextItemModel.queries`."""
        if self.training:
            rows = hidden_from_model(rows, self.items.known, self._hide)
        parts = [self._window(rows[:, : self._longest])]
        # Beyond that, windows that overlap by half: an event sees half a window or more.
        half = self._longest // 2
        for start in range(half, rows.shape[1] - half, half):
            window = rows[:, start : start + self._longest]
            parts.append(self._window(window)[:, half:])
        return with_one(torch.cat(parts, dim=1))

    def _window(self, rows: Tensor) -> Tensor:
        before = self.items.inputs(rows[:, :-1])
        start = self._start.expand(len(rows), 1, -1)
        inputs = torch.cat([start, before], dim=1) + self._positions[: rows.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(rows.shape[1], rows.device)
        states: Tensor = self._encoder(self._dropout(inputs), mask=mask, is_causal=True)
        return states


@dataclass(frozen=True, kw_only=True)
class SASRec:
    """SASRec, trained on the events before the cut; it stays as it stands there."""

    dim: int = 128
    blocks: int = 1
    heads: int = 1
    dropout: float = 0.3
    hide: float = 0.05
    """Share of events whose item is hidden in training; see `ItemTable`."""
    longest: int = 50
    """Events that attention reaches back."""
    epochs: int = 6
    patience: int = 3
    """Epochs without progress on validation users after which training ends."""
    batch_users: int = 64
    learning_rate: float = 2e-3
    item_learning_rate: float = 1e-2
    weight_decay: float = 0.01
    negatives: int = 2048
    """Items drawn per step for the softmax."""
    sampling_power: float = 0.75
    """They are drawn with probability ∝ (training events)^power."""
    seed: int = 0
    device: str = "auto"
    """auto, cpu or cuda."""
    skip_recent: int = 0
    """Items of the user's last that many events go to the end of the order."""
    exclude_seen: bool = False
    """See `replay`."""
    trained: LastResult[SASRecModel] = field(default_factory=LastResult, repr=False, compare=False)
    """Shared by candidates that differ in the order alone."""

    @property
    def name(self) -> str:
        """The name of the method in reports."""
        return "sasrec"

    @property
    def settings(self) -> dict[str, Setting]:
        """The hyper-parameters."""
        return settings_of(self, leave_out=("exclude_seen", "device", "trained"))

    def prequential_ranks(
        self,
        train: EventLog,
        stream: EventLog,
        scored: NDArray[np.bool_],
        n_items: int,
        lists: TopLists | None = None,
    ) -> NDArray[np.int32]:
        """See `StreamRecommender.prequential_ranks`."""
        device = pick_device(self.device)
        catalogue = Catalogue(train, n_items)
        same = replace(self, skip_recent=0, exclude_seen=False)
        model = self.trained.get(
            train, (same, n_items), lambda: self._fit(catalogue, train, device)
        )
        scorer = StreamScorer(
            model.queries,
            model.items.catalogue(catalogue),
            catalogue,
            repeat=model.repeat.item(),
            exclude_seen=self.exclude_seen,
            skip_recent=self.skip_recent,
        )
        return scorer.ranks(train, stream, scored, lists)

    def _fit(self, catalogue: Catalogue, train: EventLog, device: torch.device) -> SASRecModel:
        with seeded(self.seed):
            model = self._model(catalogue).to(device)
            Fitter(model, catalogue, train, self._fit_settings(), device).fit()
        return model.eval()

    def _model(self, catalogue: Catalogue) -> SASRecModel:
        return SASRecModel(
            catalogue.known,
            dim=self.dim,
            blocks=self.blocks,
            heads=self.heads,
            dropout=self.dropout,
            hide=self.hide,
            longest=self.longest,
        )

    def _fit_settings(self) -> FitSettings:
        return FitSettings(
            epochs=self.epochs,
            patience=self.patience,
            batch_users=self.batch_users,
            longest=self.longest,
            learning_rate=self.learning_rate,
            item_learning_rate=self.item_learning_rate,
            weight_decay=self.weight_decay,
            negatives=self.negatives,
            sampling_power=self.sampling_power,
            seed=self.seed,
        )
