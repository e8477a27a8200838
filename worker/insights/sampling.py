"""Which users are looked at, where a stream is too large for one process."""

from __future__ import annotations

import xxhash

_SPAN = 2**32
# Not the hash of a partitioner: one that were would sample whole partitions.
_SEED = 0x1A51


class UserSample:
    """A share of all users that is the same in every process and after every start.

    A user is in the sample if the hash of the id, spread evenly over [0, 2³²), is below
    `rate` · 2³²; so a larger rate keeps the users of a smaller one. Sums over the sampled users
    divided by `rate` are unbiased for sums over all of them (Horvitz & Thompson 1952).

    Args:
        rate: share of the users, above 0 and at most 1.
    """

    def __init__(self, rate: float) -> None:
        self._below = round(rate * _SPAN)
        self.rate = self._below / _SPAN
        """The share that is taken."""
        self.everyone = self._below >= _SPAN
        """Whether all users are in the sample."""

    def includes(self, user: bytes) -> bool:
        """Return whether the user with this id (as in the records' keys, UTF-8) is looked at."""
        return self.everyone or xxhash.xxh32_intdigest(user, _SEED) < self._below
