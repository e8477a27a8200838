"""Users' streams as padded batches of similar length."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.data import EventLog

NO_GAP = -1.0
"""The gap, in seconds, of a user's first event."""


@dataclass(frozen=True)
class StreamBatch:
    """Events of n users, padded to the longest: every tensor is (n, T)."""

    items: Tensor
    types: Tensor
    gaps: Tensor
    """Seconds since the user's previous event; `NO_GAP` for the first."""
    mask: Tensor
    """True where there is an event."""

    def to(self, device: torch.device) -> StreamBatch:
        """Return the batch on `device`."""
        return StreamBatch(
            self.items.to(device),
            self.types.to(device),
            self.gaps.to(device),
            self.mask.to(device),
        )


def recent_items(items: Tensor, count: int, pad: int) -> Tensor:
    """Return the items before each position, newest first: (n, T) → (n, T, count)."""
    padded = torch.nn.functional.pad(items, (count, 0), value=pad)
    # Window t of the padded row ends just before position t.
    return padded.unfold(1, count, 1)[:, : items.shape[1]].flip(2)


class UserStreams:
    """Each user's events in order, cut into streams of at most `longest` events."""

    def __init__(self, log: EventLog, longest: int, shortest: int = 1) -> None:
        by_user = np.argsort(log.users, kind="stable")
        users = log.users[by_user]
        changes = np.flatnonzero(users[1:] != users[:-1]) + 1
        bounds = np.unique(np.r_[0, changes, len(users)])  # of no events, one bound and no user
        self._starts, self._lengths = _chunks(bounds, longest, shortest)
        # Of each event, in the order of users: its row in the log, its item, its type, and the
        # seconds since the user's previous event.
        self._rows = by_user.astype(np.int32)
        self._items = log.items[by_user]
        self._types = log.types[by_user]
        self._gaps = _gaps(log.times[by_user], bounds[:-1])

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def events(self) -> int:
        """Number of events over all streams."""
        return int(self._lengths.sum())

    def part(self, number: int, parts: int, seed: int) -> UserStreams:
        """Return one of so many equally large parts of the streams, by turns.

        Each time that all parts have had their turn the streams are dealt out anew. A few streams
        may be left over, others each time.

        Args:
            number: of the turn, from 0.
            parts: 1 gives all streams.
            seed: of the dealing.
        """
        if parts == 1:
            return self
        dealt, turn = divmod(number, parts)
        order = np.random.default_rng([seed, dealt]).permutation(len(self))
        size = len(order) // parts
        chosen = order[turn * size : (turn + 1) * size]
        part = copy.copy(self)
        part._starts, part._lengths = self._starts[chosen], self._lengths[chosen]
        return part

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[StreamBatch]:
        """Yield all streams in batches of about `size`, alike in length to waste little padding.

        With `rng` the batches and their members are drawn anew; without, the order is fixed.
        """
        for batch, _ in self.batches_with_rows(size, rng):
            yield batch

    def batches_with_rows(
        self, size: int, rng: np.random.Generator | None = None
    ) -> Iterator[tuple[StreamBatch, NDArray[np.intp]]]:
        """Yield the batches, each with the log's row of every event in it, in mask order."""
        noise = rng.random(len(self)) * 3.0 if rng is not None else 0.0
        order = np.argsort(self._lengths + noise, kind="stable")
        groups = np.array_split(order, max(1, round(len(self) / size)))
        if rng is not None:
            rng.shuffle(groups)
        for group in groups:
            if len(group):
                yield self._pad(group)

    def batch_count(self, size: int) -> int:
        """Return how many batches `batches(size)` yields."""
        return min(len(self), max(1, round(len(self) / size)))

    def _pad(self, streams: NDArray[np.intp]) -> tuple[StreamBatch, NDArray[np.intp]]:
        lengths = self._lengths[streams]
        steps = np.arange(lengths.max())
        mask = steps < lengths[:, None]
        at = np.where(mask, self._starts[streams][:, None] + steps, 0)
        batch = StreamBatch(
            items=torch.from_numpy(np.where(mask, self._items[at], 0).astype(np.int64)),
            types=torch.from_numpy(np.where(mask, self._types[at], 0).astype(np.int64)),
            gaps=torch.from_numpy(np.where(mask, self._gaps[at], NO_GAP).astype(np.float32)),
            mask=torch.from_numpy(mask),
        )
        return batch, self._rows[at[mask]].astype(np.intp)


def _gaps(times: NDArray[np.int64], firsts: NDArray[np.intp]) -> NDArray[np.float32]:
    gaps = np.empty(len(times), np.float32)
    np.divide(np.diff(times), 1000.0, out=gaps[1:], casting="same_kind")
    gaps[firsts] = NO_GAP
    return gaps


def _chunks(
    bounds: NDArray[np.intp], longest: int, shortest: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    sizes = np.diff(bounds)
    pieces = -(-sizes // longest)
    which = np.repeat(np.arange(len(sizes)), pieces)
    index = np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    starts = bounds[:-1][which] + index * longest
    lengths = np.minimum(sizes[which] - index * longest, longest)
    keep = lengths >= shortest
    return starts[keep], lengths[keep]
