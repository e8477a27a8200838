"""Item-side memory: who follows whom, and what is trending, learned from the stream itself.

Each event on item j at distance d ≤ W after the same user's event on item i adds 1/d to the weight
w(i→j); of each item the K strongest followers and predecessors are kept. Online co-visitation
(Linden, Smith and York 2003, "Amazon.com Recommendations: Item-to-Item Collaborative Filtering";
sequential rules in Ludewig and Jannach 2018, arXiv:1803.09587) with bounded rows, in which a new
pair takes the weakest one's place (compare Space-Saving, Metwally, Agrawal and El Abbadi 2005), and
with exponential fading by event time.

What it knows of a user's candidates are features, not scores: `worker.model.mixer` weighs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from worker.item_memory import kernels
from worker.item_memory.config import MemoryConfig

_MS = 1000
_REFRESH = 256
"""Transitions after which the trending items are determined anew, or a 64th of the rows if that is
more: finding them costs a pass over all rows."""
_SEGMENT = 256
"""Events for whose candidates room is made at once."""


@dataclass(frozen=True)
class Candidates:
    """The candidates of n users, those of user i at `pointers[i]:pointers[i + 1]`.

    Recent items are candidates, and so are their followers and predecessors, what is trending, and
    what the caller adds.
    """

    pointers: NDArray[np.int64]
    """(n + 1,)."""
    rows: NDArray[np.int32]
    """Item rows, distinct within a user, (P,)."""
    features: NDArray[np.float32]
    """(P, F), columns as in `FEATURES`, with m = 1 for the user's latest item, weights w, decay δ:
    log(1 + 500 Σ_m δ^(m−1) w(i_m→j) / (1 + Σ_k w(i_m→k))) and log(1 + 100 Σ_m δ^(m−1) w(i_m→j));
    the same two for w(j→i_m), with the events of i_m as divisor; the shares of the latest item
    alone; how many recent items link to j; log(1 + seconds since the newest of these links);
    log(1 + events of j); log(1 + trend of j); log(1 + Σ_k w(j→k)); whether j is trending;
    whether the caller named it."""
    recency: NDArray[np.int32]
    """Position of j among the user's recent items, 0 being the latest; −1 if it is none, (P,)."""
    link: NDArray[np.int32]
    """Position of the latest recent item that j has followed; −1 if there is none, (P,)."""
    context: NDArray[np.float32]
    """(n, C), columns as in `CONTEXT`: log(1 + number of recent items); of the latest item,
    log(1 + Σ_k w(i→k)) and log(1 + events); log(1 + 10 × the sum of all candidates' shares)."""


@dataclass(frozen=True)
class Occurrences:
    """n events in order, and for each the user whose candidates are wanted."""

    items: NDArray[np.int32]
    """Row of the item acted on, (n,)."""
    before: NDArray[np.int32]
    """Rows that the user acted on before, newest first, (n, W); −1 fills up."""
    times: NDArray[np.int64]
    """Milliseconds since the epoch, (n,)."""
    learns: NDArray[np.bool_]
    """Whether to learn from the event, (n,)."""
    recent: NDArray[np.int32]
    """Rows of the user's recent items to find candidates for, newest first, (n, R); −1 fills up."""
    wanted: NDArray[np.bool_]
    """Whether to find candidates, (n,)."""

    def part(self, rows: slice) -> Occurrences:
        """Return some of the events."""
        return Occurrences(
            self.items[rows],
            self.before[rows],
            self.times[rows],
            self.learns[rows],
            self.recent[rows],
            self.wanted[rows],
        )


class ItemMemory:
    """What the stream teaches about items, by row. `TransitionLearner` of the worker.

    Args:
        config: sizes and time constants.
        rows: item rows to begin with; grows as needed.
    """

    def __init__(self, config: MemoryConfig, rows: int = 0) -> None:
        self.config = config
        self._rates = kernels.Rates(
            pair=_rate(config.half_life),
            trend=_rate(config.trend_half_life),
            position_decay=config.position_decay,
        )
        self._arrays = _empty(rows, config.neighbours)
        self._slot = np.full(rows, -1, np.int32)
        self._trending = np.full(max(1, config.trending), -1, np.int32)
        self._since_refresh = 0
        self._clock = 0
        self.revision = 0
        """Goes up whenever the trending items are determined anew."""

    @property
    def rows(self) -> int:
        """Item rows that there is room for."""
        return len(self._slot)

    @property
    def arrays(self) -> kernels.Arrays:
        """Everything that the memory knows; for writing it into a bundle."""
        return self._arrays

    @property
    def trending(self) -> NDArray[np.int32]:
        """Rows of the trending items, highest trend first."""
        return self._trending[self._trending >= 0]

    def reserve(self, rows: int) -> None:
        """Make room for item rows below `rows`."""
        if rows <= self.rows:
            return
        more = max(rows, 2 * self.rows) - self.rows
        self._arrays = _grown(self._arrays, _empty(more, self.config.neighbours))
        self._slot = np.full(self.rows + more, -1, np.int32)

    def learn(
        self,
        items: NDArray[np.int32],
        before: NDArray[np.int32],
        types: NDArray[np.int64],
        times: NDArray[np.int64],
    ) -> None:
        """Learn n transitions in the order given; see `TransitionLearner.learn`."""
        if not len(items):
            return
        self.reserve(int(max(items.max(), before.max(initial=-1))) + 1)
        seconds = times // _MS
        kernels.learn_many(self._arrays, self._rates, items, before, seconds)
        self._clock = max(self._clock, int(seconds.max()))
        self._since_refresh += len(items)
        self.refresh_if_due()

    def start_clock(self) -> None:
        """Set the time to that of the latest event known; to be called when filled from outside."""
        self._clock = int(self._arrays.trend.times.max(initial=0))
        self.refresh()

    def refresh_if_due(self) -> None:
        """Determine the trending items anew once enough has been learned since."""
        if self._since_refresh >= self._refresh_every():
            self.refresh()

    def refresh(self) -> None:
        """Determine the trending items anew."""
        self._since_refresh = 0
        self.revision += 1
        k = min(self.config.trending, self.rows)
        if k == 0:
            return
        trend = self._arrays.trend
        elapsed = np.maximum(0, self._clock - trend.times)
        values = trend.values * np.exp(-self._rates.trend * elapsed)
        best = np.argpartition(-values, k - 1)[:k] if k < self.rows else np.arange(k)
        best = best[np.lexsort((best, -values[best]))]
        best = best[values[best] > 0]
        self._trending[:] = -1
        self._trending[: len(best)] = best

    def forget_row(self, row: int) -> None:
        """Forget an item that the catalogue dropped; others keep it among their neighbours.

        There it does no harm, since it may not be recommended; weaker than what is still acted on,
        it is the next to give way.
        """
        if row >= self.rows:
            return
        arrays = self._arrays
        arrays.followers.size[row] = arrays.predecessors.size[row] = 0
        for number in (arrays.followers_total, arrays.visits, arrays.trend):
            number.values[row] = 0.0

    def learn_and_collect(
        self, events: Occurrences, dense: NDArray[np.int32], *, collect_first: bool = False
    ) -> Candidates:
        """Go through events in order; learn from each and find candidates for its user.

        Args:
            events: n of them.
            dense: further candidates, (n, D); −1 fills up.
            collect_first: find an event's candidates before learning from it (a test of what was
                known before), not after (an answer to the event).
        """
        columns = (events.items, events.before, events.recent, dense)
        self.reserve(max(int(column.max(initial=-1)) for column in columns) + 1)
        parts = []
        start = 0
        while start < len(events.items):
            # Up to where the trending items are due, so that they are those of the same events
            # however the stream is cut into calls.
            stop = self._next_refresh(events.learns, start)
            parts.append(
                self._collect(events.part(slice(start, stop)), dense[start:stop], collect_first)
            )
            self.refresh_if_due()
            start = stop
        return _joined(parts, len(events.items))

    def _next_refresh(self, learns: NDArray[np.bool_], start: int) -> int:
        room = max(1, self._refresh_every() - self._since_refresh)
        learned = np.flatnonzero(learns[start : start + _SEGMENT])
        if len(learned) >= room:
            return start + int(learned[room - 1]) + 1
        return min(len(learns), start + _SEGMENT)

    def _collect(
        self, events: Occurrences, dense: NDArray[np.int32], collect_first: bool
    ) -> Candidates:
        n, config = len(events.items), self.config
        recent = events.recent[:, : config.recent]
        most = recent.shape[1] * (2 * config.neighbours + 1) + config.trending + dense.shape[1]
        room = n * most + 1  # one is made ready behind the last
        out = kernels.Out(
            rows=np.empty(room, np.int32),
            features=np.empty((room, len(kernels.FEATURES)), np.float32),
            recency=np.empty(room, np.int32),
            link=np.empty(room, np.int32),
            context=np.zeros((n, len(kernels.CONTEXT)), np.float32),
            pointers=np.zeros(n + 1, np.int64),
        )
        asked = kernels.Events(
            events.items,
            events.before,
            events.times // _MS,
            events.learns,
            np.ascontiguousarray(recent),
            events.wanted,
        )
        self._clock = kernels.learn_and_collect(
            self._arrays, self._rates, asked, self._trending, dense, self._clock, collect_first,
            out, self._slot,
        )  # fmt: skip
        self._since_refresh += int(events.learns.sum())
        end = out.pointers[-1]
        return Candidates(
            out.pointers,
            out.rows[:end],
            out.features[:end],
            out.recency[:end],
            out.link[:end],
            out.context,
        )

    def _refresh_every(self) -> int:
        return max(_REFRESH, self.rows // 64)


def _rate(half_life: float | None) -> float:
    return 0.0 if half_life is None else float(np.log(2.0) / half_life)


def _empty(rows: int, neighbours: int) -> kernels.Arrays:
    def side() -> kernels.Neighbours:
        return kernels.Neighbours(
            items=np.zeros((rows, neighbours), np.int32),
            weights=np.zeros((rows, neighbours), np.float32),
            times=np.zeros((rows, neighbours), np.int64),
            size=np.zeros(rows, np.int32),
        )

    def number() -> kernels.Faded:
        return kernels.Faded(np.zeros(rows, np.float32), np.zeros(rows, np.int64))

    return kernels.Arrays(side(), side(), number(), number(), number())


def _grown(arrays: kernels.Arrays, more: kernels.Arrays) -> kernels.Arrays:
    def side(a: kernels.Neighbours, b: kernels.Neighbours) -> kernels.Neighbours:
        return kernels.Neighbours(*map(_concatenate, a, b))

    def number(a: kernels.Faded, b: kernels.Faded) -> kernels.Faded:
        return kernels.Faded(*map(_concatenate, a, b))

    return kernels.Arrays(
        side(arrays.followers, more.followers),
        side(arrays.predecessors, more.predecessors),
        number(arrays.followers_total, more.followers_total),
        number(arrays.visits, more.visits),
        number(arrays.trend, more.trend),
    )


def _concatenate(a: object, b: object) -> NDArray[Any]:
    return np.concatenate([np.asarray(a), np.asarray(b)])


def _joined(parts: list[Candidates], n: int) -> Candidates:
    if len(parts) == 1:
        return parts[0]
    pointers = np.zeros(n + 1, np.int64)
    sizes = [np.diff(part.pointers) for part in parts]
    np.cumsum(np.concatenate([np.empty(0, np.int64), *sizes]), out=pointers[1:])
    return Candidates(
        pointers,
        np.concatenate([np.empty(0, np.int32), *(part.rows for part in parts)]),
        np.concatenate(
            [np.empty((0, len(kernels.FEATURES)), np.float32), *(part.features for part in parts)]
        ),
        np.concatenate([np.empty(0, np.int32), *(part.recency for part in parts)]),
        np.concatenate([np.empty(0, np.int32), *(part.link for part in parts)]),
        np.concatenate(
            [np.empty((0, len(kernels.CONTEXT)), np.float32), *(part.context for part in parts)]
        ),
    )
