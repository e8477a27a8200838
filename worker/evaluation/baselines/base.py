"""What every rival of the inner loop is: a recommender scored event by event on a stream."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from worker.data import EventLog
from worker.evaluation.top_lists import TopLists

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Setting = str | int | float | bool
"""The value of a hyper-parameter, as reports show it."""


class StreamRecommender(Protocol):
    """A recommender that the prequential (test, then learn) protocol can score."""

    @property
    def name(self) -> str:
        """The name of the method in reports."""
        ...

    @property
    def settings(self) -> dict[str, Setting]:
        """The hyper-parameters, for reports; finite numbers only, as JSON knows no others."""
        ...

    def prequential_ranks(
        self,
        train: EventLog,
        stream: EventLog,
        scored: NDArray[np.bool_],
        n_items: int,
        lists: TopLists | None = None,
    ) -> NDArray[np.int32]:
        """Rank the item of each scored event in the whole catalogue, before learning from it.

        Args:
            train: the events before the cut; learned from in any case.
            stream: the events after the cut, in time order, with the same user and item codes.
                Every event extends its user's history; a method that learns online also learns
                from it, once it has been ranked.
            scored: (len(stream),) which events to rank.
            n_items: size of the catalogue; item codes are below it.
            lists: collects the top lists of the ranked events that it wants, in the same order by
                which they are ranked (`CatalogueRanker.top`), and is told of the progress.

        Returns:
            (len(stream),) the 0-based rank of each event's item: the number of items that the
            method prefers to it, as `CatalogueRanker` defines it; -1 where `scored` is false.
        """
        ...


def settings_of(
    method: DataclassInstance, leave_out: tuple[str, ...] = ("exclude_seen",)
) -> dict[str, Setting]:
    """Return the fields of a dataclass, as `StreamRecommender.settings` has them."""
    values = {
        field.name: getattr(method, field.name)
        for field in fields(method)
        if field.name not in leave_out
    }
    return {name: _shown(value) for name, value in values.items()}


def _shown(value: object) -> Setting:
    if isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value)
