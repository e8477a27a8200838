"""What the methods on nearest sessions share: their weights, their scorer, their replay."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from worker.data import EventLog
from worker.evaluation.baselines.neighbours import NeighbourRule, score_catalogue, workspace
from worker.evaluation.baselines.ranking import CatalogueRanker
from worker.evaluation.baselines.replay import replay
from worker.evaluation.baselines.session_log import lay_out, learn, learn_all
from worker.evaluation.top_lists import TopLists

_LONGEST_DISTANCE = 1024
"""Events, beyond which the weight by distance stays as it is."""


class NeighbourScorer:
    """`PrequentialScorer` of a `NeighbourRule`.

    Args:
        train: learned from at once.
        stream: the events that are to come, in the order in which `learn` is told of them.
        n_items: size of the catalogue.
        rule: the method.
        online: sessions of the stream become neighbours as they happen. Otherwise the neighbours
            stay as they stand at the cut.
    """

    def __init__(
        self, train: EventLog, stream: EventLog, n_items: int, rule: NeighbourRule, online: bool
    ) -> None:
        self._log = lay_out(train, stream, n_items)
        self._rule = rule
        self._online = online
        self._work = workspace(self._log)
        learn_all(self._log, train.users, train.times)

    def scores(self, user: int, time: int) -> NDArray[np.float64]:
        """See `PrequentialScorer.scores`."""
        score_catalogue(self._log, self._rule, self._work, user, time)
        return self._work.scores

    def learn(self, user: int, item: int, time: int) -> None:
        """See `PrequentialScorer.learn`."""
        if self._online:
            learn(self._log, user, time)
        self._log.happened[user] += 1


def neighbour_ranks(
    train: EventLog,
    stream: EventLog,
    scored: NDArray[np.bool_],
    n_items: int,
    *,
    rule: NeighbourRule,
    online: bool,
    exclude_seen: bool,
    lists: TopLists | None,
) -> NDArray[np.int32]:
    """See `StreamRecommender.prequential_ranks`."""
    return replay(
        train,
        stream,
        scored,
        ranker=CatalogueRanker.from_training(train, n_items),
        scorer=NeighbourScorer(train, stream, n_items, rule, online),
        exclude_seen=exclude_seen,
        lists=lists,
    )


def linear_weights(query_length: int) -> NDArray[np.float64]:
    """Return the position from the oldest event, n − step + 1, by n and step.

    These are integers, so that equal sums are equal whatever they are sums of.
    """
    n, step = np.indices((query_length + 1, query_length + 1))
    weights: NDArray[np.float64] = np.maximum(n - step + 1.0, 1.0)
    return weights


def reciprocal_weights(query_length: int) -> NDArray[np.float64]:
    """Return 1 / (n · step), by n and step."""
    n, step = np.indices((query_length + 1, query_length + 1))
    weights: NDArray[np.float64] = 1.0 / np.maximum(n * step, 1)
    return weights


def exponential_weights(query_length: int, scale: float) -> NDArray[np.float64]:
    """Return exp(−(step − 1) / scale), by n and step; an infinite scale gives ones."""
    step = np.indices((query_length + 1, query_length + 1))[1]
    weights: NDArray[np.float64] = np.exp(-np.maximum(step - 1, 0) / scale)
    return weights


def distance_weights(scale: float) -> NDArray[np.float64]:
    """Return exp(−distance / scale), by distance in events; an infinite scale gives one."""
    if math.isinf(scale):
        return np.ones(1)
    weights: NDArray[np.float64] = np.exp(-np.arange(_LONGEST_DISTANCE) / scale)
    return weights
