"""The ranking policy of a worker: from its settings, and for each micro-batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.clickstream import EVENT_TYPE_INDEX, EventType
from schemas.settings.policy import PolicySettings
from worker.byte_table import packed
from worker.catalogue import Catalogue
from worker.policy.batch import BatchPolicy, Selection
from worker.policy.items import EVERYWHERE, PolicyItems
from worker.policy.selection_kernel import Options
from worker.ranking_index.narrowing import Narrowing, sorted_rows
from worker.recommendation_ids import recommendation_ids
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
        self._model_version = catalogue.model_version
        self._top_k = top_k
        self._options = _options(settings)
        self._chooses = self._options != _options(PolicySettings())
        self._pool = max(top_k, settings.candidates) if self._chooses else top_k

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
        sources = batch.source.tolist()
        return self.for_answers(
            event_ids=[events.event_ids[source] for source in sources],
            user_ids=[events.user_ids[source] for source in sources],
            surfaces=[events.surfaces[source] for source in sources] if events.surfaces else [],
            recent_rows=batch.recent_rows,
            recent_types=batch.recent_types,
        )

    def for_answers(
        self,
        *,
        event_ids: Sequence[str],
        user_ids: Sequence[str],
        surfaces: Sequence[str | None],
        recent_rows: NDArray[np.int64],
        recent_types: NDArray[np.uint8],
    ) -> BatchPolicy:
        """Return what the policy asks of lists, each of which answers an event.

        Args:
            event_ids: of the n events.
            user_ids: of their users.
            surfaces: where they happened; empty if that is not known.
            recent_rows: as for `for_users`.
            recent_types: as for `for_users`.
        """
        groups = np.full(len(event_ids), EVERYWHERE, np.int64)
        of_surface = self._items.group_of
        if of_surface and surfaces:
            groups[:] = [
                EVERYWHERE if surface is None else of_surface.get(surface, EVERYWHERE)
                for surface in surfaces
            ]
        seeds = self._seeds(event_ids, user_ids) if self._options.epsilon > 0.0 else None
        return self.for_queries(groups, recent_rows, recent_types, seeds)

    def for_users(
        self, recent_rows: NDArray[np.int64], recent_types: NDArray[np.uint8]
    ) -> BatchPolicy:
        """Return what the policy asks of lists that answer no event; nothing is tried in them.

        Args:
            recent_rows: rows of the users' recent items, newest first, (n, r).
            recent_types: rows of `EVENT_TYPE_INDEX`, (n, r); void where they are not wanted.
        """
        groups = np.full(len(recent_rows), EVERYWHERE, np.int64)
        return self.for_queries(groups, recent_rows, recent_types, None)

    def for_queries(
        self,
        groups: NDArray[np.int64],
        recent_rows: NDArray[np.int64],
        recent_types: NDArray[np.uint8],
        seeds: NDArray[np.uint64] | None,
    ) -> BatchPolicy:
        """Return what the policy asks of lists.

        Args:
            groups: of their surfaces, see `PolicyItems.group_of`, (n,).
            recent_rows: as for `for_users`.
            recent_types: as for `for_users`.
            seeds: what chance goes by, (n,); None tries nothing.
        """
        items = self._items
        items.level()
        excluded = self._left_out(recent_rows, recent_types)
        narrowing = None
        if items.restricts or items.added is not None or excluded.shape[1]:
            narrowing = Narrowing(items.allowed, groups, excluded)
        selection = None
        if self._chooses:
            options = self._options if seeds is not None else self._options._replace(epsilon=0.0)
            none = np.zeros(len(groups), np.uint64)
            selection = Selection(options, none if seeds is None else seeds, self._top_k)
        types = recent_types if self._settings.reason_types else None
        return BatchPolicy(items, narrowing, self._pool, selection, types)

    def _seeds(self, event_ids: Sequence[str], user_ids: Sequence[str]) -> NDArray[np.uint64]:
        """Return what chance goes by, (n,): the recommendations' ids, so that a replay repeats."""
        ids = recommendation_ids(
            packed([event_id.encode() for event_id in event_ids]),
            packed([user_id.encode() for user_id in user_ids]),
            self._model_version,
        )
        seeds: NDArray[np.uint64] = ids[:, :8].copy().view("<u8")[:, 0].astype(np.uint64)
        return seeds

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


def _options(settings: PolicySettings) -> Options:
    explores = settings.exploration != "none"
    return Options(
        cap=settings.brand_cap or 0,
        diversity=settings.diversity,
        epsilon=settings.epsilon if explores else 0.0,
        scale=settings.posterior_scale if settings.exploration == "posterior" else 0.0,
        first=settings.explore_from - 1 if explores else 0,
    )
