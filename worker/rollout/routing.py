"""Which users are a candidate's: by a keyed hash, so everywhere and always the same ones."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_HASH_BYTES = 8
_MOST_KEY_BYTES = 64


@dataclass(frozen=True)
class Share:
    """A share of all users.

    A user is in it if the BLAKE2b hash of the id, keyed with the salt, is below the percentage of
    its range: a larger share with the same salt holds every user of a smaller one.
    """

    salt: str
    percent: int

    def __contains__(self, user_id: object) -> bool:
        key = self.salt.encode()[:_MOST_KEY_BYTES]
        digest = hashlib.blake2b(str(user_id).encode(), digest_size=_HASH_BYTES, key=key).digest()
        return (int.from_bytes(digest, "big") * 100) >> (8 * _HASH_BYTES) < self.percent

    def of(self, user_ids: Sequence[str]) -> NDArray[np.bool_]:
        """Return which of these are in it, (n,); an id is hashed once however often it occurs."""
        inside = {user_id: user_id in self for user_id in set(user_ids)}
        return np.fromiter((inside[user_id] for user_id in user_ids), np.bool_, len(user_ids))
