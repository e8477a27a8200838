"""Users as records of the compacted `user-state` topic."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from schemas.codec import encode_state
from schemas.user_state import LAYOUT_VERSION
from worker.byte_table import ByteRows, ByteTable, packed
from worker.state.arena import UserArena
from worker.state.record_kernel import Bytes, Records, room_needed, write_records
from worker.state.residents import ResidentUser


class StateRecords:
    """Writes users' records.

    Args:
        arena: the users.
        model_version: of the bundle.
    """

    def __init__(self, arena: UserArena, model_version: str) -> None:
        self._arena = arena
        self._model_version = model_version
        self._version_bytes: Bytes = np.frombuffer(model_version.encode(), np.uint8)
        self._item_ids = ByteTable()

    def encode(self, slots: NDArray[np.int64]) -> list[bytes]:
        """Return the values of the records that hold these users, (n,), as they are now."""
        arena = self._arena
        arrays = arena.gather_rows(arena.to_device(slots)).cpu().numpy()
        # Users with queries, or with items unknown to the catalogue, are few.
        by_hand = arena.prune_texts(slots.tolist())
        if not by_hand:
            return self._compiled(slots, arrays)
        rest = np.setdiff1d(np.arange(len(slots)), by_hand)
        values = dict(zip(rest.tolist(), self._compiled(slots[rest], arrays[rest]), strict=True))
        values |= {i: self._by_hand(int(slots[i]), arrays[i].tobytes()) for i in by_hand}
        return [values[i] for i in range(len(slots))]

    def _by_hand(self, slot: int, arrays: bytes) -> bytes:
        user = ResidentUser(self._arena, slot)
        return encode_state(user.to_state(LAYOUT_VERSION, self._model_version, arrays))

    def _compiled(self, slots: NDArray[np.int64], arrays: Bytes) -> list[bytes]:
        columns = self._arena.columns
        records = Records(
            slots=slots,
            user_ids=packed([self._arena.user_id(slot).encode() for slot in slots.tolist()]),
            arrays=arrays,
            model_version=self._version_bytes,
            item_ids=self._known_items(),
        )
        out = np.empty(room_needed(columns, records), np.uint8)
        ends = np.empty(len(slots), np.int64)
        write_records(columns, records, out, ends)
        limits = ends.tolist()
        whole = out[: limits[-1] if limits else 0].tobytes()
        return [whole[a:b] for a, b in zip([0, *limits], limits, strict=False)]

    def _known_items(self) -> ByteRows:
        new = self._arena.item_ids[len(self._item_ids) :]
        self._item_ids.extend([item_id.encode() for item_id in new])
        return self._item_ids.rows
