"""The item memory's inner loops, compiled.

All values that fade are kept as (value, time of the last change) and fade by 2^(−elapsed/half-life)
when they are read or changed, so that a value does not depend on the order of learning: adding x at
time s to a value last changed at t > s adds x·2^(−(t−s)/half-life). Which neighbours a full row has
given up does depend on it.

Times are seconds since the epoch. A rate is ln 2 / half-life per second; 0 never fades.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.ranking_index.simd import prefetch

F32 = np.float32

FEATURES = (
    "follows_share",
    "follows",
    "precedes_share",
    "precedes",
    "follows_last_share",
    "precedes_last_share",
    "links",
    "age",
    "count",
    "trend",
    "followers_total",
    "is_trending",
    "is_dense",
)
"""What is said of each candidate; see `worker.item_memory.memory.Candidates`."""

TRENDING, DENSE = FEATURES.index("is_trending"), FEATURES.index("is_dense")

CONTEXT = ("recent", "last_followers_total", "last_count", "mass")
"""What is said of each user."""

_LOG_SCALE = tuple(F32(scale) for scale in (500, 100, 500, 100, 500, 500, 0, 1, 0, 0, 0, 0, 0))
"""A feature x becomes log(1 + scale·x); with 0 it stays what it is."""
_SCALES = np.array(_LOG_SCALE * 16, F32)
"""Of 16 candidates, one behind the other."""
_IS_SCALED = _SCALES > 0.0


class Neighbours(NamedTuple):
    """The strongest neighbours of each item on one side; entries beyond `size` are void."""

    items: NDArray[np.int32]
    """(rows, K)."""
    weights: NDArray[np.float32]
    """(rows, K)."""
    times: NDArray[np.int64]
    """(rows, K)."""
    size: NDArray[np.int32]
    """(rows,)."""


class Faded(NamedTuple):
    """A fading number per item."""

    values: NDArray[np.float32]
    """(rows,)."""
    times: NDArray[np.int64]
    """(rows,)."""


class Arrays(NamedTuple):
    """Everything that the memory knows, by item row."""

    followers: Neighbours
    predecessors: Neighbours
    followers_total: Faded
    """Sum of all weights ever added to followers, those evicted included."""
    visits: Faded
    """Events of each item."""
    trend: Faded


class Rates(NamedTuple):
    """How fast things fade, per second, and with the position among a user's last items."""

    pair: float
    trend: float
    position_decay: float


class Out(NamedTuple):
    """Where candidates go: P is the capacity."""

    rows: NDArray[np.int32]
    """(P,)."""
    features: NDArray[np.float32]
    """(P, len(FEATURES))."""
    recency: NDArray[np.int32]
    """(P,); see `Candidates`."""
    link: NDArray[np.int32]
    """(P,)."""
    context: NDArray[np.float32]
    """(n, len(CONTEXT))."""
    pointers: NDArray[np.int64]
    """(n + 1,)."""


class Events(NamedTuple):
    """n events; see `worker.item_memory.memory.Occurrences`. Times are in seconds."""

    items: NDArray[np.int32]
    before: NDArray[np.int32]
    times: NDArray[np.int64]
    learns: NDArray[np.bool_]
    recent: NDArray[np.int32]
    wanted: NDArray[np.bool_]


@njit(inline="always")
def log1p(x: float) -> np.float32:
    """Return log(1 + x) of a float32 x ≥ 0, to 2 units in the last place.

    Without branches, so that a loop over it runs as vector instructions. The polynomial is that of
    `logf` in the Cephes library (Moshier); what rounding 1 + x loses is put back to first order.
    """
    y = F32(F32(1.0) + x)
    bits = F32(y).view(np.int32)
    exponent = np.int32((bits - np.int32(0x3F3504F3)) >> np.int32(23))
    f = np.int32(bits - (exponent << np.int32(23))).view(np.float32) - F32(1.0)
    lost = (x - (y - F32(1.0))) / y
    p = F32(7.0376836292e-2)
    p = p * f + F32(-1.1514610310e-1)
    p = p * f + F32(1.1676998740e-1)
    p = p * f + F32(-1.2420140846e-1)
    p = p * f + F32(1.4249322787e-1)
    p = p * f + F32(-1.6668057665e-1)
    p = p * f + F32(2.0000714765e-1)
    p = p * f + F32(-2.4999993993e-1)
    p = p * f + F32(3.3333331174e-1)
    z = f * f
    e = F32(exponent)
    small = p * f * z + e * F32(-2.12194440e-4) - F32(0.5) * z + lost
    return F32(f + small + e * F32(0.693359375))


@njit(inline="always")
def exp_of_minus(x: float) -> np.float32:
    """Return e^(−x) of a float32 x ≥ 0, to 2 units in the last place; 0 beyond 87.

    Without branches, like `log1p`; the polynomial is that of `expf` in the Cephes library.
    """
    y = -min(F32(x), F32(88.0))
    n = np.rint(y * F32(1.44269504088896341))
    f = y - n * F32(0.693359375) - n * F32(-2.12194440e-4)
    p = F32(1.9875691500e-4)
    p = p * f + F32(1.3981999507e-3)
    p = p * f + F32(8.3334519073e-3)
    p = p * f + F32(4.1665795894e-2)
    p = p * f + F32(1.6666665459e-1)
    p = p * f + F32(5.0000001201e-1)
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    result = F32((p * f * f + f + F32(1.0)) * power)
    return result if x < F32(87.0) else F32(0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def fade(value: float, since: int, now: int, rate: float) -> float:
    """Return a value last changed at `since`, as of `now`; a value of the future does not grow."""
    if rate == 0.0 or now <= since:
        return value
    faded: float = value * np.exp(-rate * (now - since))
    return faded


@njit(cache=True, nogil=True, error_model="numpy")
def add_faded(target: Faded, row: int, x: float, now: int, rate: float) -> None:
    """Add x, as of `now`, to a row's number."""
    before = target.times[row]
    if now >= before:
        target.values[row] = F32(fade(target.values[row], before, now, rate) + x)
        target.times[row] = now
    else:
        target.values[row] += F32(fade(x, now, before, rate))


@njit(cache=True, nogil=True, error_model="numpy")
def strengthen(side: Neighbours, row: int, item: int, x: float, now: int, rate: float) -> None:
    """Add x to the weight of a neighbour; a full row gives up its weakest one for a new one."""
    size = side.size[row]
    for s in range(size):
        if side.items[row, s] == item:
            before = side.times[row, s]
            if now >= before:
                side.weights[row, s] = F32(fade(side.weights[row, s], before, now, rate) + x)
                side.times[row, s] = now
            else:
                side.weights[row, s] += F32(fade(x, now, before, rate))
            return
    if size < side.items.shape[1]:
        slot = size
        side.size[row] = size + 1
    else:
        slot, weakest = 0, np.inf
        for s in range(size):
            weight = fade(side.weights[row, s], side.times[row, s], now, rate)
            if weight < weakest:
                slot, weakest = s, weight
    side.items[row, slot] = item
    side.weights[row, slot] = F32(x)
    side.times[row, slot] = now


@njit(cache=True, nogil=True, error_model="numpy")
def learn_one(memory: Arrays, rates: Rates, item: int, before: NDArray[np.int32], now: int) -> None:
    """Learn that `item` was acted on after the items `before`, newest first; −1 ends them."""
    for distance in range(len(before)):
        source = before[distance]
        if source < 0:
            break
        x = 1.0 / (distance + 1)
        strengthen(memory.followers, source, item, x, now, rates.pair)
        strengthen(memory.predecessors, item, source, x, now, rates.pair)
        add_faded(memory.followers_total, source, x, now, rates.pair)
    add_faded(memory.visits, item, 1.0, now, rates.pair)
    add_faded(memory.trend, item, 1.0, now, rates.trend)


@njit(cache=True, nogil=True, error_model="numpy")
def learn_many(
    memory: Arrays,
    rates: Rates,
    items: NDArray[np.int32],
    before: NDArray[np.int32],
    times: NDArray[np.int64],
) -> None:
    """Learn n transitions in the order given: (n,), (n, W) and (n,) in seconds."""
    for i in range(len(items)):
        learn_one(memory, rates, items[i], before[i], times[i])


@njit(inline="always")
def _place(
    rows: NDArray[np.int32], features: NDArray[np.float32], recency: NDArray[np.int32],
    link: NDArray[np.int32], slot: NDArray[np.int32], row: int, n: int,
) -> tuple[int, int]:  # fmt: skip
    """Return the candidate of a row, a new one if it is none yet, and the number of candidates.

    Without branches, which nobody could predict: the place behind the last candidate is made ready
    whether it is needed or not.
    """
    rows[n] = row
    features[n, :] = F32(0.0)
    recency[n] = link[n] = -1
    known = slot[row]
    p = n if known < 0 else known
    slot[row] = p
    return p, n + (p == n)


@njit(cache=True, nogil=True, error_model="numpy")
def read(number: Faded, row: int, now: int, rate: float) -> float:
    """Return a row's number as of `now`."""
    value: float = fade(number.values[row], number.times[row], now, rate)
    return value


# In the loops over neighbours and candidates arrays go by themselves and elements by their indices:
# to pass on a tuple of arrays, or a row of one, counts references, which took most of the time.


@njit(cache=True, nogil=True, error_model="numpy")
def _send_for(side: Neighbours, row: int) -> None:
    """Have a row of neighbours brought close: the rows of a user's items lie anywhere in memory."""
    size = np.int64(side.size[row])
    prefetch(side.items.ctypes.data + row * side.items.strides[0], 4 * size)
    prefetch(side.weights.ctypes.data + row * side.weights.strides[0], 4 * size)
    prefetch(side.times.ctypes.data + row * side.times.strides[0], 8 * size)


@njit(cache=True, nogil=True, error_model="numpy")
def _faded_weights(
    side: Neighbours, source: int, rate: float, now: int, faded: NDArray[np.float32]
) -> None:
    """Write the weights of an item's neighbours as of `now`."""
    weights, times = side.weights, side.times
    for s in range(side.size[source]):
        faded[s] = F32(fade(weights[source, s], times[source, s], now, rate))


@njit(cache=True, nogil=True, error_model="numpy")
def _followers(
    side: Neighbours, source: int, k: int, factor: float, total: float, rate: float, now: int,
    out: Out, slot: NDArray[np.int32], n: int, faded: NDArray[np.float32],
) -> tuple[int, float]:  # fmt: skip
    """Add the followers of the recent item at position k; return the end and their shares."""
    items, times = side.items, side.times
    rows, features, recency, link = out.rows, out.features, out.recency, out.link
    mass, per_total, by_place = 0.0, F32(1.0 / total), F32(factor)
    _faded_weights(side, source, rate, now, faded)
    latest = F32(1.0) if k == 0 else F32(0.0)
    for s in range(side.size[source]):
        p, n = _place(rows, features, recency, link, slot, items[source, s], n)
        weight = faded[s]
        share = weight * per_total
        features[p, 0] += by_place * share
        features[p, 1] += by_place * weight
        features[p, 4] += latest * share  # an item is among the followers of another once
        features[p, 6] += F32(1.0)
        age = F32(max(0, now - times[source, s]))
        first = link[p] < 0
        features[p, 7] = age if first else min(features[p, 7], age)
        link[p] = k if first else link[p]
        mass += share
    return n, factor * mass


@njit(cache=True, nogil=True, error_model="numpy")
def _predecessors(
    side: Neighbours, source: int, k: int, factor: float, total: float, rate: float, now: int,
    out: Out, slot: NDArray[np.int32], n: int, faded: NDArray[np.float32],
) -> int:  # fmt: skip
    """Add the predecessors of the recent item at position k; return the end."""
    items = side.items
    rows, features, recency, link = out.rows, out.features, out.recency, out.link
    per_total, by_place = F32(1.0 / total), F32(factor)
    _faded_weights(side, source, rate, now, faded)
    latest = F32(1.0) if k == 0 else F32(0.0)
    for s in range(side.size[source]):
        p, n = _place(rows, features, recency, link, slot, items[source, s], n)
        weight = faded[s]
        share = weight * per_total
        features[p, 2] += by_place * share
        features[p, 3] += by_place * weight
        features[p, 5] += latest * share
    return n


@njit(cache=True, nogil=True, error_model="numpy")
def _named(named: NDArray[np.int32], column: int, out: Out, slot: NDArray[np.int32], n: int) -> int:
    """Add the rows of a list that −1 ends, and mark them in a column; return the end."""
    rows, features, recency, link = out.rows, out.features, out.recency, out.link
    for row in named:
        if row < 0:
            break
        p, n = _place(rows, features, recency, link, slot, row, n)
        features[p, column] = F32(1.0)
    return n


@njit(cache=True, nogil=True, error_model="numpy")
def collect_one(
    memory: Arrays, rates: Rates, recent: NDArray[np.int32], trending: NDArray[np.int32],
    dense: NDArray[np.int32], now: int, out: Out, slot: NDArray[np.int32], start: int, event: int,
) -> int:  # fmt: skip
    """Write the candidates of one user from position `start` on; return the position after them."""
    n, known, factor, mass, rate = start, 0, 1.0, 0.0, rates.pair
    rows, features, recency, link = out.rows, out.features, out.recency, out.link
    followers, predecessors = memory.followers, memory.predecessors
    faded = np.empty(followers.items.shape[1], F32)
    for k in range(len(recent)):
        source = recent[k]
        if source < 0:
            break
        if k + 1 < len(recent) and recent[k + 1] >= 0:
            _send_for(followers, recent[k + 1])
            _send_for(predecessors, recent[k + 1])
        known += 1
        p, n = _place(rows, features, recency, link, slot, source, n)
        if recency[p] < 0:
            recency[p] = k
        total = 1.0 + read(memory.followers_total, source, now, rate)
        n, share = _followers(followers, source, k, factor, total, rate, now, out, slot, n, faded)
        mass += share
        total = 1.0 + read(memory.visits, source, now, rate)
        n = _predecessors(predecessors, source, k, factor, total, rate, now, out, slot, n, faded)
        factor *= rates.position_decay
    n = _named(trending, TRENDING, out, slot, n)
    n = _named(dense, DENSE, out, slot, n)
    for p in range(start, n):
        slot[rows[p]] = -1
    _finish(memory, rates, out, start, n, now)
    context = out.context[event]
    context[0] = np.log1p(F32(known))
    if known > 0:
        context[1] = np.log1p(read(memory.followers_total, recent[0], now, rate))
        context[2] = np.log1p(read(memory.visits, recent[0], now, rate))
    context[3] = np.log1p(10.0 * mass)
    return n


@njit(cache=True, nogil=True, error_model="numpy")
def _finish(memory: Arrays, rates: Rates, out: Out, start: int, stop: int, now: int) -> None:
    """Bring candidates' numbers onto a log scale and add what is said of the items themselves."""
    width, column = len(FEATURES), np.empty(stop - start, np.float32)
    numbers, end = out.features.reshape(out.features.size), stop * len(FEATURES)
    for i in range(start * width, end, len(_SCALES)):  # whole vectors, whatever the columns
        part = numbers[i : min(i + len(_SCALES), end)]
        for j in range(len(part)):
            scaled = log1p(_SCALES[j] * part[j])
            part[j] = scaled if _IS_SCALED[j] else part[j]
    _read_logs(memory.visits, out, start, stop, now, rates.pair, column, 8)
    _read_logs(memory.trend, out, start, stop, now, rates.trend, column, 9)
    _read_logs(memory.followers_total, out, start, stop, now, rates.pair, column, 10)


@njit(cache=True, nogil=True, error_model="numpy")
def _read_logs(
    number: Faded, out: Out, start: int, stop: int, now: int, rate: float,
    column: NDArray[np.float32], feature: int,
) -> None:  # fmt: skip
    """Write log(1 + number) of candidates as a feature."""
    rows, values, times, features = out.rows, number.values, number.times, out.features
    for i in range(stop - start):
        column[i] = values[rows[start + i]]
    if rate > 0.0:
        ages = np.empty(stop - start, F32)
        for i in range(stop - start):
            ages[i] = F32(max(0, now - times[rows[start + i]]))
        for i in range(stop - start):
            column[i] *= exp_of_minus(F32(rate) * ages[i])
    for i in range(stop - start):
        column[i] = log1p(column[i])
    for i in range(stop - start):
        features[start + i, feature] = column[i]


@njit(cache=True, nogil=True, error_model="numpy")
def learn_and_collect(
    memory: Arrays, rates: Rates, events: Events, trending: NDArray[np.int32],
    dense: NDArray[np.int32], clock: int, collect_first: bool, out: Out, slot: NDArray[np.int32],
) -> int:  # fmt: skip
    """Learn events in order and write candidates where wanted; return the latest time learned."""
    n = 0
    for i in range(len(events.items)):
        if events.learns[i] and not collect_first:
            learn_one(memory, rates, events.items[i], events.before[i], events.times[i])
            clock = max(clock, events.times[i])
        if events.wanted[i]:
            n = collect_one(
                memory, rates, events.recent[i], trending, dense[i], clock, out, slot, n, i
            )
        if events.learns[i] and collect_first:
            learn_one(memory, rates, events.items[i], events.before[i], events.times[i])
            clock = max(clock, events.times[i])
        out.pointers[i + 1] = n
    return clock
