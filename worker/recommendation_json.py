"""Recommendations as JSON, a micro-batch at a time and without an object for each item."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.clickstream import EventType
from schemas.recommendations import ReasonEvent
from worker.addressed import Addressed
from worker.byte_table import ByteRows, ByteTable, packed
from worker.recommendation_ids import recommendation_ids
from worker.recommendation_kernel import (
    DECIMALS,
    Bytes,
    Extras,
    Messages,
    room_for_extras,
    room_needed,
    write_messages,
)
from worker.rows import NO_ITEM
from worker.stages.rank import Ranked

__all__ = ["DECIMALS", "RecommendationJson"]

_encode = msgspec.json.Encoder().encode

_NO_TYPES: NDArray[np.uint8] = np.empty((0, 0), np.uint8)
_NO_PROPENSITIES: NDArray[np.float64] = np.empty((0, 0), np.float64)
_NO_ALSO = ByteRows(np.frombuffer(b"", np.uint8), np.zeros(1, np.int64))
_TYPES = packed([_encode(ReasonEvent(kind.value)) for kind in EventType])


class RecommendationJson:
    """Writes recommendations.

    Args:
        item_ids: item id by catalogue row; grows at the end only.
        model_version: of the bundle.
        variant: label of the experiment's arm.
    """

    def __init__(self, item_ids: Sequence[str], model_version: str, variant: str) -> None:
        self._item_ids = item_ids
        self._items = ByteTable()
        self._model_version = model_version
        model, arm = _encode(model_version), _encode(variant)
        # What follows the losses.
        self._model = b'},"model_version":' + model + b',"variant":' + arm + b',"event_time":'
        self._out: Bytes = np.empty(0, np.uint8)

    def warm_up(self) -> None:
        """Compile what `encode` is made of, and read the items' ids."""
        nothing = np.full((1, 1), NO_ITEM)
        zero = np.zeros(1, np.float32)
        whole = zero.astype(np.int64)
        to = Addressed(["e"], ["u"], [0], whole, whole, zero > 0, zero, zero)
        self.encode([b"u"], Ranked(nothing, zero[:, None], nothing), to, produced_at=0)

    def encode(
        self, user_ids: Sequence[bytes], ranked: Ranked, to: Addressed, *, produced_at: int
    ) -> list[bytes] | None:
        """Return n messages as JSON.

        Args:
            user_ids: in UTF-8.
            ranked: the lists.
            to: what they answer.
            produced_at: milliseconds since the epoch.

        Returns:
            None if a score or loss is NaN, infinite, or 9·10⁹ or more.
        """
        n = len(user_ids)
        users = packed(user_ids)
        events = packed([event_id.encode() for event_id in to.event_ids])
        messages = Messages(
            ids=recommendation_ids(events, users, self._model_version),
            user_ids=users,
            event_ids=events,
            # A layout or type of another kind would be compiled anew.
            rows=np.ascontiguousarray(ranked.rows, np.int64),
            scores=np.ascontiguousarray(ranked.scores, np.float32),
            reasons=np.ascontiguousarray(ranked.reasons, np.int64),
            items=self._known_items(),
            also=packed([_also(earlier) for earlier in to.also]) if to.also else _NO_ALSO,
            events_seen=np.ascontiguousarray(to.events_seen, np.int64),
            stepped=np.ascontiguousarray(to.stepped, np.bool_),
            loss_before=np.ascontiguousarray(to.loss_before, np.float32),
            loss_after=np.ascontiguousarray(to.loss_after, np.float32),
            model=np.frombuffer(self._model, np.uint8),
            event_times=np.ascontiguousarray(to.times, np.int64),
            end=np.frombuffer(b',"produced_at":%d}' % produced_at, np.uint8),
        )
        extras = _extras(ranked)
        room = room_needed(messages) + (0 if extras is None else room_for_extras(extras))
        if room > len(self._out):
            self._out = np.empty(room, np.uint8)
        ends = np.empty(n, np.int64)
        if not write_messages(messages, extras, self._out, ends):
            return None
        limits = [0, *ends.tolist()]
        view = self._out.data
        return [view[a:b].tobytes() for a, b in pairwise(limits)]

    def _known_items(self) -> ByteRows:
        new = self._item_ids[len(self._items) :]
        self._items.extend([_encode(item_id) for item_id in new])
        return self._items.rows


def _extras(ranked: Ranked) -> Extras | None:
    """Return what a policy adds to lists; None if it adds nothing."""
    types, propensities = ranked.reason_types, ranked.propensities
    if types is None and propensities is None:
        return None
    return Extras(
        _NO_TYPES if types is None else types,
        _TYPES,
        _NO_PROPENSITIES if propensities is None else propensities,
    )


def _also(event_ids: Sequence[str]) -> bytes:
    """Return what follows the event that a message answers."""
    return b',"also_caused_by":' + _encode(event_ids) if event_ids else b""
