"""Implicit ALS with fold-in: what users of implicit's `recalculate_user` run.

Hu, Koren and Volinsky, "Collaborative Filtering for Implicit Feedback Datasets" (ICDM 2008), by
the library implicit (Frederickson). Item factors come from the training events and stay as they
stand at the cut. Before each scored event the user's factor is recalculated in closed form from the
events seen so far, an event m steps before the newest weighing alpha · recency^m; the items of
highest product with it are recommended. A user without events has the zero vector: the popular
items.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.errors import EvaluationError
from worker.data import EventLog
from worker.evaluation.baselines.base import Setting, settings_of
from worker.evaluation.baselines.neural.catalogue import Catalogue
from worker.evaluation.baselines.neural.scoring import StreamScorer
from worker.evaluation.baselines.prefixes import NO_EVENT, LastResult, recent_before
from worker.evaluation.top_lists import TopLists

if TYPE_CHECKING:
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix


@dataclass(frozen=True, kw_only=True)
class ImplicitALS:
    """Matrix factorisation of the training events, new users folded in."""

    factors: int = 128
    """Size of the vectors."""
    alpha: float = 100.0
    """Confidence in an event, against 1 in its absence."""
    regularization: float = 0.1
    """Weight of the squared norms."""
    iterations: int = 8
    """Rounds of alternating least squares."""
    recency: float = 0.5
    """Factor on the confidence per step back in the fold-in; 1 weighs all events alike."""
    query_length: int = 20
    """How many of a user's last events are folded in."""
    seed: int = 0
    """Of the initial factors."""
    skip_recent: int = 1
    """Items of the user's last that many events are not recommended again."""
    exclude_seen: bool = False
    """See `replay`."""
    fitted: LastResult[AlternatingLeastSquares] = field(
        default_factory=LastResult, repr=False, compare=False
    )
    """Shared by candidates that differ in the fold-in alone."""

    @property
    def name(self) -> str:
        """The name of the method in reports."""
        return "als"

    @property
    def settings(self) -> dict[str, Setting]:
        """The hyper-parameters."""
        return settings_of(self, leave_out=("exclude_seen", "fitted"))

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
            EvaluationError: implicit is not installed; the extra `rivals` brings it.
        """
        catalogue = Catalogue(train, n_items)
        arguments = (n_items, self.factors, self.alpha, self.regularization, self.iterations)
        model = self.fitted.get(
            train, (*arguments, self.seed), lambda: self._fit(catalogue.by_row(train), n_items)
        )

        def queries(rows: Tensor) -> Tensor:
            n, length = rows.shape
            windows = recent_before(rows, self.query_length).reshape(n * length, -1)
            weights = weighted_prefixes(windows.numpy(), n_items, self.recency)
            vectors = model.recalculate_user(np.arange(n * length), weights)
            return torch.from_numpy(vectors).reshape(n, length, -1)

        vectors = torch.from_numpy(model.item_factors)
        scorer = StreamScorer(
            queries,
            vectors,
            catalogue,
            exclude_seen=self.exclude_seen,
            skip_recent=self.skip_recent,
        )
        return scorer.ranks(train, stream, scored, lists)

    def _fit(self, log: EventLog, n_items: int) -> AlternatingLeastSquares:
        try:
            from implicit.cpu.als import AlternatingLeastSquares  # noqa: PLC0415 - optional
            from scipy.sparse import csr_matrix  # noqa: PLC0415 - implicit brings it
            from threadpoolctl import threadpool_limits  # noqa: PLC0415 - implicit brings it
        except ImportError as error:
            raise EvaluationError(
                "als needs implicit; install it with: pip install 'innerloop[rivals]'"
            ) from error
        ones = np.ones(len(log), np.float32)
        n_users = int(log.users.max(initial=-1)) + 1
        counts = csr_matrix((ones, (log.users, log.items)), shape=(n_users, n_items))
        model = AlternatingLeastSquares(
            factors=self.factors,
            regularization=self.regularization,
            alpha=self.alpha,
            iterations=self.iterations,
            num_threads=torch.get_num_threads(),
            random_state=self.seed,
        )
        # implicit's own threads call BLAS: with threads of its own BLAS would multiply them.
        with threadpool_limits(1, "blas"):
            model.fit(counts, show_progress=False)
        return model


def weighted_prefixes(
    windows: NDArray[np.int64], n_items: int, recency: float
) -> csr_matrix[np.float32]:
    """Return recency^m summed by item, m counting back from the newest event: (n, n_items).

    Args:
        windows: items of n pasts, newest first, (n, length); `NO_EVENT` fills short ones.
        n_items: size of the catalogue.
        recency: factor per step back.
    """
    from scipy.sparse import csr_matrix  # noqa: PLC0415 - implicit brings it

    present = windows != NO_EVENT
    steps = np.broadcast_to(np.arange(windows.shape[1]), windows.shape)[present]
    ends = np.concatenate([[0], np.cumsum(present.sum(axis=1))])
    weights = (recency**steps).astype(np.float32)
    prefixes = csr_matrix((weights, windows[present], ends), shape=(len(windows), n_items))
    prefixes.sum_duplicates()
    return prefixes
