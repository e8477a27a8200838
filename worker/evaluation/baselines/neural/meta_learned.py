"""Meta-learned rivals: decision layers that start from what suits all users and adapt to each.

* `maml`: MeLU (Lee et al., "MeLU: Meta-Learned User Preference Estimator for Cold-Start
  Recommendation", KDD 2019, arXiv:1908.00413): MAML (Finn et al. 2017, arXiv:1703.03400) whose
  inner loop changes the decision layers and leaves the embeddings alone, as MeLU does.
* `anil`: the last layer alone adapts (Raghu et al., "Rapid Learning or Feature Reuse?", ICLR 2020,
  arXiv:1909.09157).
* `reptile`: no meta-gradient; the start moves towards where the users' steps end (Nichol et al.,
  "On First-Order Meta-Learning Algorithms", 2018, arXiv:1803.02999). The rest of the model is
  trained by its gradient at the adapted layers.

MeLU rates items from user profiles and item contents. With ids alone and implicit feedback, here a
GRU over the user's events takes the place of the profile, and the loss, inner and outer, is the
sampled softmax over next items. Decision layers act on the user's side, so that the whole catalogue
is scored by one product. At test time the layers are adapted before each event, from the start, to
all of the user's events so far (the latest `support` of them); all users at once, on batched
weights.
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
from worker.evaluation.baselines.neural.decision_layers import (
    Anchors,
    DecisionLayers,
    Layers,
    Support,
    decide,
)
from worker.evaluation.baselines.neural.fitting import FitSettings, Fitter
from worker.evaluation.baselines.neural.model import (
    ItemTable,
    NextItemModel,
    hidden_from_model,
)
from worker.evaluation.baselines.neural.scoring import StreamScorer
from worker.evaluation.baselines.neural.seeding import seeded
from worker.evaluation.baselines.prefixes import LastResult
from worker.evaluation.top_lists import TopLists
from worker.model.serving import pick_device
from worker.training.sampled_softmax import ItemSampler

VARIANTS = ("maml", "anil", "reptile")

_LONGEST = 50
_TASKS_AT_ONCE = 1024


class MetaModel(NextItemModel):
    """Item vectors, a GRU, and decision layers that adapt.

    Args:
        known: number of items.
        layers: the decision layers.
        dim: d.
        dropout: of the item vectors that enter.
        hide: share of events hidden from the GRU in training.
        support: events to adapt to, at most.
        anchors: rows of the items that the inner loss contrasts with at test time, (M,); in
            training, as many of the step's negatives.
        log_probability: of each known row to be drawn, (known,).
        reptile: train the start by Reptile's rule.
    """

    _anchors: Tensor
    _log_probability: Tensor

    def __init__(
        self,
        known: int,
        layers: DecisionLayers,
        *,
        dim: int,
        dropout: float,
        hide: float,
        support: int,
        anchors: Tensor,
        log_probability: Tensor,
        reptile: bool,
    ) -> None:
        super().__init__(ItemTable(known, dim, spread=dim**-0.5))
        self._layers = layers
        self._start = nn.Parameter(torch.zeros(dim))
        self._dropout = nn.Dropout(dropout)
        self._gru = nn.GRU(dim, dim, batch_first=True)
        self._norm = nn.LayerNorm(dim)
        self._hide = hide
        self._support = support
        self._reptile = reptile
        self.register_buffer("_anchors", anchors)
        self.register_buffer("_log_probability", log_probability)

    def states(self, rows: Tensor) -> Tensor:
        """Return the states before each event: (n, T) → (n, T, d)."""
        if self.training:
            rows = hidden_from_model(rows, self.items.known, self._hide)
        before = self.items.inputs(rows[:, :-1])
        start = self._start.expand(len(rows), 1, -1)
        states, _ = self._gru(self._dropout(torch.cat([start, before], dim=1)))
        normed: Tensor = self._norm(states)
        return normed

    def queries(self, rows: Tensor) -> Tensor:
        """See `NextItemModel.queries`; the layers adapt to the events before each."""
        states = self.states(rows)
        users, length = rows.shape
        anchors = self._anchors_of(self._anchors)
        user = torch.arange(users, device=rows.device).repeat_interleave(length)
        at = torch.arange(length, device=rows.device).repeat(users)
        parts = []
        for task in torch.split(torch.arange(users * length, device=rows.device), _TASKS_AT_ONCE):
            support = self._support_before(states, rows, user[task], at[task])
            layers = self._layers.adapt(support, anchors)
            parts.append(decide(layers, states[user[task], at[task]].unsqueeze(1)).squeeze(1))
        return torch.cat(parts).view(users, length, -1)

    def loss(
        self, rows: Tensor, mask: Tensor, negatives: Tensor, log_probability: Tensor
    ) -> Tensor:
        """Return the meta-training loss; see `NextItemModel.loss`.

        Each history is cut at random: the layers adapt to what comes before, and the loss is on
        what comes after. Reptile's start learns from steps on whole histories instead.
        """
        states = self.states(rows)
        lengths = mask.sum(dim=1)
        user = torch.arange(len(rows), device=rows.device)
        anchors = self._anchors_of(negatives[: len(self._anchors)])
        cuts = (torch.rand(len(rows), device=rows.device) * lengths).long()
        layers = self._layers.adapt(self._support_before(states, rows, user, cuts), anchors)
        pull = states.new_zeros(())
        if self._reptile:
            layers = Layers(*(part.detach() for part in layers))
            whole = self._support_before(states.detach(), rows, user, lengths)
            pull = self._reptile_pull(self._layers.adapt(whole, anchors))
        after = mask & (torch.arange(rows.shape[1], device=rows.device) >= cuts.unsqueeze(1))
        queries = decide(layers, states)
        return pull + self.loss_at(queries, rows, after, negatives, log_probability)

    def _anchors_of(self, rows: Tensor) -> Anchors:
        return Anchors(rows, self.items.targets(rows), self._log_probability)

    def _support_before(self, states: Tensor, rows: Tensor, user: Tensor, cut: Tensor) -> Support:
        """Return the latest known events of the histories `user` (n,) before `cut` (n,)."""
        steps = torch.arange(-self._support, 0, device=rows.device)
        at = cut.unsqueeze(1) + steps
        mask = at >= 0
        at = at.clamp(min=0)
        items = rows[user.unsqueeze(1), at]
        mask &= items < self.items.known
        items = items.masked_fill(~mask, 0)
        return Support(states[user.unsqueeze(1), at], items, self.items.targets(items), mask)

    def _reptile_pull(self, adapted: Layers) -> Tensor:
        """Return a term whose gradient is Reptile's: from the start, away from the users' ends."""
        scale = 1.0 / (self._layers.steps * float(self._layers.log_rates.exp()[0]))
        terms = [
            (start * (start - ends.mean(dim=0, keepdim=True)).detach()).sum()
            for start, ends in zip(self._layers.start(), adapted, strict=True)
        ]
        return scale * (torch.stack(terms).sum())


@dataclass(frozen=True, kw_only=True)
class MetaLearned:
    """MAML, ANIL or Reptile, trained on the events before the cut; their start stays as it is."""

    variant: str = "maml"
    """One of `VARIANTS`."""
    second_order: bool = True
    """Of MAML and ANIL; False is the first-order approximation."""
    steps: int = 2
    """Gradient steps per adaptation."""
    rate: float = 0.3
    """Step size, at the start of its own training; Reptile's stays."""
    support: int = 20
    """The latest events to adapt to."""
    anchors: int = 256
    """Items that the inner loss contrasts with."""
    dim: int = 128
    hidden: int = 32
    """Units between the decision layers."""
    dropout: float = 0.3
    hide: float = 0.05
    epochs: int = 6
    patience: int = 3
    batch_users: int = 64
    learning_rate: float = 2e-3
    item_learning_rate: float = 1e-2
    weight_decay: float = 0.01
    negatives: int = 2048
    sampling_power: float = 0.75
    seed: int = 0
    device: str = "auto"
    """auto, cpu or cuda."""
    skip_recent: int = 0
    """Items of the user's last that many events go to the end of the order."""
    exclude_seen: bool = False
    """See `replay`."""
    trained: LastResult[MetaModel] = field(default_factory=LastResult, repr=False, compare=False)
    """Shared by candidates that differ in the order alone."""

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant {self.variant!r} is none of {', '.join(VARIANTS)}")

    @property
    def name(self) -> str:
        """The name of the method in reports."""
        return self.variant

    @property
    def settings(self) -> dict[str, Setting]:
        """The hyper-parameters."""
        return settings_of(self, leave_out=("variant", "exclude_seen", "device", "trained"))

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

    def _fit(self, catalogue: Catalogue, train: EventLog, device: torch.device) -> MetaModel:
        with seeded(self.seed):
            model = self._model(catalogue).to(device)
            Fitter(model, catalogue, train, self._fit_settings(), device).fit()
        return model.eval()

    def _model(self, catalogue: Catalogue) -> MetaModel:
        reptile = self.variant == "reptile"
        layers = DecisionLayers(
            self.dim,
            self.hidden,
            steps=self.steps,
            rate=self.rate,
            head_only=self.variant == "anil",
            second_order=self.second_order and not reptile,
            learn_rates=not reptile,
        )
        sampler = ItemSampler(catalogue.counts[: catalogue.known], self.sampling_power)
        return MetaModel(
            catalogue.known,
            layers,
            dim=self.dim,
            dropout=self.dropout,
            hide=self.hide,
            support=self.support,
            anchors=sampler.draw(self.anchors, np.random.default_rng(self.seed)),
            log_probability=sampler.log_probability,
            reptile=reptile,
        )

    def _fit_settings(self) -> FitSettings:
        return FitSettings(
            epochs=self.epochs,
            patience=self.patience,
            batch_users=self.batch_users,
            longest=_LONGEST,
            learning_rate=self.learning_rate,
            item_learning_rate=self.item_learning_rate,
            weight_decay=self.weight_decay,
            negatives=self.negatives,
            sampling_power=self.sampling_power,
            seed=self.seed,
        )
