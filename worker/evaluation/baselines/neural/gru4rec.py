"""GRU4Rec: a recurrent network over a user's events, from Cornac.

Hidasi and Karatzoglou, "Recurrent Neural Networks with Top-k Gains for Session-based
Recommendations" (CIKM 2018, arXiv:1706.03847). Trained by Cornac's `GRU4Rec`, which follows the
authors' own PyTorch code: session-parallel batches, constrained (tied) embeddings, additional
negatives drawn ∝ popularity^alpha, cross-entropy with logQ correction or BPR-max, dropout, Adagrad
with momentum. Cornac scores one history at a time; here users go through its network side by side.

Each training sequence begins with an extra item that stands for its start, so that the first event
is predicted too. Events on items without training events leave the state as it was.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from schemas.errors import EvaluationError
from worker.data import EventLog
from worker.evaluation.baselines.base import Setting, settings_of
from worker.evaluation.baselines.neural.catalogue import Catalogue
from worker.evaluation.baselines.neural.model import catalogue_vectors, with_one
from worker.evaluation.baselines.neural.scoring import StreamScorer
from worker.evaluation.baselines.neural.seeding import seeded
from worker.evaluation.baselines.prefixes import LastResult
from worker.evaluation.top_lists import TopLists
from worker.model.serving import pick_device


@dataclass(frozen=True, kw_only=True)
class GRU4Rec:
    """GRU4Rec, trained on the events before the cut; it stays as it stands there."""

    loss: str = "cross-entropy"
    """Or "bpr-max"."""
    dim: int = 128
    """Units of the GRU and, embeddings being constrained, of the item vectors."""
    epochs: int = 8
    batch_size: int = 192
    """Users that go through the network side by side in training."""
    learning_rate: float = 0.08
    momentum: float = 0.0
    embedding_dropout: float = 0.3
    hidden_dropout: float = 0.1
    negatives: int = 2048
    """Additional negatives per batch."""
    sample_alpha: float = 0.5
    """They are drawn with probability ∝ (training events)^alpha."""
    logq: float = 1.0
    """Strength of the correction for it; of cross-entropy alone."""
    bpreg: float = 1.0
    """Weight of the score regularisation; of BPR-max alone."""
    elu: float = 0.5
    """Parameter of the ELU on scores; of BPR-max alone."""
    seed: int = 0
    device: str = "auto"
    """auto, cpu or cuda."""
    skip_recent: int = 1
    """Items of the user's last that many events go to the end of the order."""
    exclude_seen: bool = False
    """See `replay`."""
    trained: LastResult[_CornacNetwork] = field(
        default_factory=LastResult, repr=False, compare=False
    )
    """Shared by candidates that differ in the order alone."""

    @property
    def name(self) -> str:
        """The name of the method in reports."""
        return "gru4rec"

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
        """See `StreamRecommender.prequential_ranks`.

        Raises:
            EvaluationError: Cornac is not installed.
        """
        device = pick_device(self.device)
        catalogue = Catalogue(train, n_items)
        same = replace(self, skip_recent=0, exclude_seen=False)
        cornac = self.trained.get(
            train, (same, n_items), lambda: self._fit(catalogue, train, device)
        )
        network = _Network(cornac, catalogue.known)
        scorer = StreamScorer(
            network.queries,
            network.vectors(catalogue),
            catalogue,
            exclude_seen=self.exclude_seen,
            skip_recent=self.skip_recent,
        )
        return scorer.ranks(train, stream, scored, lists)

    def _fit(self, catalogue: Catalogue, train: EventLog, device: torch.device) -> _CornacNetwork:
        try:
            from cornac.models import GRU4Rec as CornacGRU4Rec  # noqa: PLC0415 - takes seconds
        except ImportError as error:
            raise EvaluationError(
                "gru4rec needs Cornac; install it with: pip install 'innerloop[rivals]'"
            ) from error
        model = CornacGRU4Rec(
            layers=[self.dim],
            loss=self.loss,
            # Cornac needs a user for every place of a batch.
            batch_size=min(self.batch_size, len(np.unique(train.users))),
            dropout_p_embed=self.embedding_dropout,
            dropout_p_hidden=self.hidden_dropout,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            sample_alpha=self.sample_alpha,
            n_sample=self.negatives,
            constrained_embedding=True,
            n_epochs=self.epochs,
            bpreg=self.bpreg,
            elu_param=self.elu,
            logq=self.logq if self.loss == "cross-entropy" else 0.0,
            device=device.type,
            seed=self.seed,
        )
        with seeded(self.seed):
            model.fit(_sessions(catalogue, train))
        network: _CornacNetwork = model.model.eval()
        return network


def _sessions(catalogue: Catalogue, train: EventLog) -> object:
    """Return the training users as Cornac's sessions, items by row, each after a start item."""
    from cornac.data import SequentialDataset  # noqa: PLC0415 - takes seconds

    log = catalogue.by_row(train)
    started: set[int] = set()
    rows: list[tuple[int, int, int]] = []
    columns = zip(log.users.tolist(), log.items.tolist(), log.times.tolist(), strict=True)
    for user, item, time in columns:
        if user not in started:
            started.add(user)
            rows.append((user, catalogue.known, time))
        rows.append((user, item, time))
    codes = range(catalogue.known + 1)
    return SequentialDataset.build(
        rows, fmt="SIT", global_iid_map=OrderedDict(zip(codes, codes, strict=True))
    )


class _CornacNetwork(Protocol):
    """What is used here of Cornac's `GRU4RecModel`."""

    Wy: nn.Embedding
    By: nn.Embedding
    layers: list[int]

    def hidden_step(self, X: Tensor, H: list[Tensor]) -> Tensor:  # noqa: N803 - its names
        """Return the state after the items of vectors X, and put it into H in place."""
        ...


class _Network:
    """Cornac's trained network, for many users at once; its item `known` is the start item."""

    def __init__(self, network: _CornacNetwork, known: int) -> None:
        self._network = network
        self._known = known

    def vectors(self, catalogue: Catalogue) -> Tensor:
        """Return the catalogue's vectors with the bias, (n_items, d + 1)."""
        weight = torch.cat([self._network.Wy.weight, self._network.By.weight], dim=1).detach()
        return catalogue_vectors(weight, catalogue)

    def queries(self, rows: Tensor) -> Tensor:
        """Return the queries before each event: (n, T) → (n, T, d + 1)."""
        device = self._network.Wy.weight.device
        hidden = torch.zeros(len(rows), self._network.layers[-1], device=device)
        inputs = torch.full((len(rows),), self._known, device=device)
        queries = []
        for t in range(rows.shape[1]):
            # One layer, whose state is its output.
            after = self._network.hidden_step(self._network.Wy(inputs), [hidden])
            hidden = torch.where((inputs <= self._known).unsqueeze(1), after, hidden)
            queries.append(hidden)
            # The start item comes once; the next row of Cornac's table is its own padding.
            inputs = torch.where(rows[:, t] < self._known, rows[:, t], self._known + 1)
        return with_one(torch.stack(queries, dim=1))
