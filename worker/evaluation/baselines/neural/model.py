"""What the neural rivals share: item vectors with a bias, and a query before each event."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from worker.evaluation.baselines.neural.catalogue import Catalogue
from worker.evaluation.baselines.neural.losses import Candidates, next_item_loss
from worker.evaluation.baselines.prefixes import recent_before

_UNKNOWN_SCORE = -1e9
_REPEAT_SCALE = 10.0


class ItemTable(nn.Module):
    """One vector and one bias per known item, tied: events enter by the vectors that score them.

    Row `known` stands for every other item in a history (its vector is learned from events that
    training hides); it is never recommended. Gradients are sparse: of the rows in use only.

    Args:
        known: number of items.
        dim: d.
        spread: standard deviation of the vectors at the start.
    """

    def __init__(self, known: int, dim: int, spread: float) -> None:
        super().__init__()
        self.known = known
        self.dim = dim
        # The bias is one more column: a query that ends in 1 scores items by a plain product.
        self._table = nn.Embedding(known + 1, dim + 1, sparse=True)
        with torch.no_grad():
            self._table.weight.normal_(0.0, spread)
            self._table.weight[:, dim].zero_()

    def inputs(self, rows: Tensor) -> Tensor:
        """Return the vectors by which events enter: (…) → (…, d)."""
        table: Tensor = self._table(rows.clamp(max=self.known))
        return table[..., : self.dim]

    def targets(self, rows: Tensor) -> Tensor:
        """Return the vectors, with the bias, that queries are multiplied with: (…) → (…, d + 1)."""
        table: Tensor = self._table(rows)
        return table

    def catalogue(self, catalogue: Catalogue) -> Tensor:
        """Return the vectors of the whole catalogue, unknown items behind all others."""
        return catalogue_vectors(self._table.weight.detach(), catalogue)


class NextItemModel(nn.Module, ABC):
    """A model that says before each event of a history which item comes next.

    Beside the query, one learned number says how likely the latest item is to come again at once.
    With tied vectors an item's score is highest after itself, whether or not the log has repeats.

    Args:
        items: the item vectors.
    """

    def __init__(self, items: ItemTable) -> None:
        super().__init__()
        self.items = items
        self._repeat = nn.Parameter(torch.zeros(()))

    @property
    def repeat(self) -> Tensor:
        """What the latest item's score gains by being the latest; a scalar."""
        # A logit moves further than a weight does in the same number of steps.
        return _REPEAT_SCALE * self._repeat

    @abstractmethod
    def queries(self, rows: Tensor) -> Tensor:
        """Return the queries before each event of n histories: (n, T) → (n, T, d + 1).

        The query at t depends on `rows[:, :t]` alone. Its last column is 1.
        """

    def loss(
        self, rows: Tensor, mask: Tensor, negatives: Tensor, log_probability: Tensor
    ) -> Tensor:
        """Return the training loss of n histories: the next-item softmax, sampled (see there).

        Args:
            rows: items of the histories, (n, T).
            mask: where there is an event, (n, T).
            negatives: rows drawn, (m,).
            log_probability: of each known row to be drawn, (known,).
        """
        return self.loss_at(self.queries(rows), rows, mask, negatives, log_probability)

    def loss_at(
        self,
        queries: Tensor,
        rows: Tensor,
        mask: Tensor,
        negatives: Tensor,
        log_probability: Tensor,
    ) -> Tensor:
        """Return `next_item_loss` of the queries (n, T, d + 1) where `mask` is true; see `loss`."""
        targets, latest = rows[mask], recent_before(rows, 1)[mask].squeeze(1)
        return next_item_loss(
            queries[mask],
            Candidates(targets, self.items.targets(targets)),
            Candidates(latest, self.items.targets(latest.clamp(min=0))),
            Candidates(negatives, self.items.targets(negatives)),
            log_probability=log_probability,
            repeat=self.repeat,
        )


def catalogue_vectors(known: Tensor, catalogue: Catalogue) -> Tensor:
    """Return the vectors of the whole catalogue, unknown items behind all others.

    Args:
        known: vectors of the known items, the bias last; further rows do not matter, (…, d + 1).
        catalogue: numbers the rows.
    """
    vectors = known.new_zeros(len(catalogue), known.shape[1])
    vectors[: catalogue.known] = known[: catalogue.known]
    vectors[catalogue.known :, -1] = _UNKNOWN_SCORE
    return vectors


def with_one(vectors: Tensor) -> Tensor:
    """Append a column of ones, which meets the items' bias: (…, d) → (…, d + 1)."""
    return nn.functional.pad(vectors, (0, 1), value=1.0)


def hidden_from_model(rows: Tensor, known: int, share: float) -> Tensor:
    """Return `rows` with a random share of events replaced by the row of unknown items."""
    hide = torch.rand(rows.shape, device=rows.device) < share
    return rows.masked_fill(hide, known)
