"""The ranking policy of a worker: from its settings, and for each micro-batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from schemas.clickstream import EVENT_TYPE_INDEX, EventType
from schemas.settings.policy import PolicySettings
from worker.catalogue import Catalogue
from worker.policy.batch import BatchPolicy
from worker.policy.items import EVERYWHERE, PolicyItems
from worker.ranking_index.narrowing import Narrowing, sorted_rows
from worker.rows import NO_ITEM
from worker.stages.decode import EventColumns
from worker.stages.fold import FoldedBatch

_PURCHASE = EVENT_TYPE_INDEX[EventType.PURCHASE]


class Policy:
    """What lists are made of beyond the scores.

    Args:
        settings: the policy.
        catalogue: the items.
        top_k: length of a list.
    """

    def __init__(self, settings: PolicySettings, catalogue: Catalogue, top_k: int) -> None:
        self._settings = settings
        self._items = PolicyItems(settings, catalogue.items)
        self._pool = top_k

    @classmethod
    def of(cls, settings: PolicySettings, catalogue: Catalogue, top_k: int) -> Policy | None:
        """Return the policy of these settings; None if lists are what the scores say."""
        plain = PolicySettings()
        idle = ("candidates", "epsilon", "posterior_scale", "explore_from")
        for name in PolicySettings.model_fields:
            if name not in idle and getattr(settings, name) != getattr(plain, name):
                return cls(settings, catalogue, top_k)
        return None

    @property
    def wants_types(self) -> bool:
        """Whether it has to be known of users' recent items what they did with them."""
        return self._settings.leave_out == "purchased" or self._settings.reason_types

    def for_events(self, events: EventColumns, batch: FoldedBatch) -> BatchPolicy:
        """Return what the policy asks of the lists that answer these events."""
        groups = np.full(len(batch), EVERYWHERE, np.int64)
        of_surface = self._items.group_of
        if of_surface and events.surfaces:
            surfaces = events.surfaces
            groups[:] = [of_surface.get(surfaces[i], EVERYWHERE) for i in batch.source.tolist()]
        return self._batch(groups, batch.recent_rows, batch.recent_types)

    def for_users(
        self, recent_rows: NDArray[np.int64], recent_types: NDArray[np.uint8]
    ) -> BatchPolicy:
        """Return what the policy asks of lists that answer no event.

        Args:
            recent_rows: rows of the users' recent items, newest first, (n, r).
            recent_types: rows of `EVENT_TYPE_INDEX`, (n, r); void where they are not wanted.
        """
        groups = np.full(len(recent_rows), EVERYWHERE, np.int64)
        return self._batch(groups, recent_rows, recent_types)

    def _batch(
        self,
        groups: NDArray[np.int64],
        recent_rows: NDArray[np.int64],
        recent_types: NDArray[np.uint8],
    ) -> BatchPolicy:
        items = self._items
        items.level()
        excluded = self._left_out(recent_rows, recent_types)
        narrowing = None
        if items.restricts or items.added is not None or excluded.shape[1]:
            narrowing = Narrowing(items.allowed, groups, excluded)
        return BatchPolicy(items, narrowing, self._pool)

    def _left_out(
        self, recent_rows: NDArray[np.int64], recent_types: NDArray[np.uint8]
    ) -> NDArray[np.int64]:
        """Return the rows that each list is to leave out, (n, m), as `Narrowing` wants them."""
        match self._settings.leave_out:
            case "seen":
                return sorted_rows(recent_rows)
            case "purchased":
                return sorted_rows(np.where(recent_types == _PURCHASE, recent_rows, NO_ITEM))
            case _:
                return recent_rows[:, :0]
