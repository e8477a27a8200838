"""The catalogue's scores for a current session, from its nearest sessions: compiled.

One kernel serves V-SKNN, STAN and VSTAN, which differ in their weights alone (`NeighbourRule`).
The current session of a user is the last `query_length` events, n of them; an item's *step* counts
back from its last occurrence there: 1 is the newest event. With C the items of the current
session, for each other session s:

* candidates: of the sessions that share an item with C, the `sample_size` most recent, by their
  last event;
* similarity: sim(s) = recency(s) / norm(s) · Σ_{i ∈ C ∩ s} similarity_weights[n, step(i)], where
  recency(s) = exp(−decay_rate · (t − t_s)), t_s being the time of the last event of s, and norm(s)
  the root of the number of items of s if `cosine` is set (C's own norm changes no order), else 1;
* neighbours: the k most similar, the more recent first among equals;
* score: s(j) = (1 + idf_weight · idf(j)) · Σ_{neighbours s ∋ j} sim(s) · match_weights[n, m(s)] ·
  distance_weights[|p(j) − p*|], where m(s) is the smallest step of an item of C ∩ s, p(j) the
  position of the last event on j in s, p* that of the last event on an item of C in s, and
  idf(j) = ln(|S| / |{s ∋ j}|) over the sessions learned; items at a step up to
  `skip_recent` score zero.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from worker.evaluation.baselines.session_log import SessionLog


class NeighbourRule(NamedTuple):
    """What makes one method of the family; see the module."""

    k: int
    sample_size: int
    query_length: int
    similarity_weights: NDArray[np.float64]
    """Positive, (query_length + 1, query_length + 1), by n and step; index 0 of either unused."""
    match_weights: NDArray[np.float64]
    """Likewise."""
    distance_weights: NDArray[np.float64]
    """By distance in events, (m,); distances beyond the end have the last one's weight."""
    cosine: bool
    decay_rate: float
    """Per millisecond."""
    idf_weight: float
    skip_recent: int
    """Items of that many last events of the current session score nothing."""


class Workspace(NamedTuple):
    """Scratch arrays of the kernel; all zero between calls, `scores` from the second one on not."""

    scores: NDArray[np.float64]
    """The last call's result, (items,)."""
    scored_items: NDArray[np.int32]
    """The items whose score is not zero, (items,), as many as `sizes[0]` says."""
    sizes: NDArray[np.int64]
    query_steps: NDArray[np.int64]
    """Step of each item of the current session, (items,)."""
    sums: NDArray[np.float64]
    """Sum of each session's similarity weights, (users,)."""
    best_steps: NDArray[np.int64]
    """Smallest step of an item in common, (users,)."""
    touched: NDArray[np.int32]
    """The sessions that share an item, (users,)."""


def workspace(log: SessionLog) -> Workspace:
    """Return scratch arrays for a log."""
    n_users, n_items = len(log.learned), log.n_items
    return Workspace(
        scores=np.zeros(n_items),
        scored_items=np.zeros(n_items, dtype=np.int32),
        sizes=np.zeros(1, dtype=np.int64),
        query_steps=np.zeros(n_items, dtype=np.int64),
        sums=np.zeros(n_users),
        best_steps=np.zeros(n_users, dtype=np.int64),
        touched=np.zeros(n_users, dtype=np.int32),
    )


@njit(cache=True)
def score_catalogue(
    log: SessionLog, rule: NeighbourRule, work: Workspace, user: int, now: int
) -> None:
    """Leave the scores of all items for a user at time `now` (ms) in `work.scores`."""
    for place in range(work.sizes[0]):
        work.scores[work.scored_items[place]] = 0.0
    work.sizes[0] = 0
    start, end = _current_session(log, rule, user)
    for row in range(start, end):
        work.query_steps[log.items[row]] = end - row
    n_touched = _gather(log, rule, work, user)
    if n_touched:
        nearest, similarities = _nearest(log, rule, work, n_touched, now)
        for place in range(len(nearest)):
            session = nearest[place]
            weight = similarities[place] * rule.match_weights[end - start, work.best_steps[session]]
            _add_items(log, rule, work, session, weight)
        _weigh_by_idf(log, rule, work)
    for place in range(n_touched):
        work.sums[work.touched[place]] = 0.0
    for row in range(start, end):
        work.query_steps[log.items[row]] = 0


@njit(cache=True)
def _current_session(log: SessionLog, rule: NeighbourRule, user: int) -> tuple[int, int]:
    """Return the first row of the user's current session, and the one after the last."""
    end = log.starts[user] + log.happened[user]
    return max(log.starts[user], end - rule.query_length), end


@njit(cache=True)
def _gather(log: SessionLog, rule: NeighbourRule, work: Workspace, user: int) -> int:
    """Sum the similarity weights of every session that shares an item; return their number."""
    start, end = _current_session(log, rule, user)
    n_touched = 0
    for row in range(start, end):
        item, step = log.items[row], end - row
        if work.query_steps[item] != step:
            continue
        weight = rule.similarity_weights[end - start, step]
        first = log.item_starts[item]
        for place in range(first, first + log.learned_users[item]):
            other = log.item_users[place]
            if other == user:
                continue
            if work.sums[other] == 0.0:
                work.touched[n_touched] = other
                n_touched += 1
            work.sums[other] += weight
            # Rows go from old to new, so the smallest step has the last word.
            work.best_steps[other] = step
    return n_touched


@njit(cache=True)
def _nearest(
    log: SessionLog, rule: NeighbourRule, work: Workspace, n_touched: int, now: int
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return the k nearest of the most recent candidates, and their similarities."""
    candidates = work.touched[:n_touched]
    if n_touched > rule.sample_size:
        candidates = _most_recent(log, candidates, rule.sample_size)
    similarities = np.empty(len(candidates))
    for place in range(len(candidates)):
        session = candidates[place]
        similarity = work.sums[session]
        if rule.cosine:
            similarity /= np.sqrt(log.distinct[session])
        if rule.decay_rate > 0.0:
            similarity *= np.exp(-rule.decay_rate * (now - log.last_time[session]))
        similarities[place] = similarity
    if len(candidates) <= rule.k:
        return candidates, similarities
    return _most_similar(log, candidates, similarities, rule.k)


@njit(cache=True)
def _most_recent(log: SessionLog, sessions: NDArray[np.int32], n: int) -> NDArray[np.int32]:
    """Return the n sessions with the latest last events; no two have the same."""
    events = log.last_event[sessions]
    cutoff = np.partition(events, len(events) - n)[len(events) - n]
    recent: NDArray[np.int32] = sessions[events >= cutoff]
    return recent


@njit(cache=True)
def _most_similar(
    log: SessionLog, sessions: NDArray[np.int32], similarities: NDArray[np.float64], n: int
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    cutoff = np.partition(similarities, len(similarities) - n)[len(similarities) - n]
    above = similarities > cutoff
    equal = sessions[similarities == cutoff]
    wanted = n - int(np.count_nonzero(above))
    if len(equal) > wanted:
        equal = _most_recent(log, equal, wanted)
    nearest = np.concatenate((sessions[above], equal))
    return nearest, np.concatenate((similarities[above], np.full(len(equal), cutoff)))


@njit(cache=True)
def _add_items(
    log: SessionLog, rule: NeighbourRule, work: Workspace, session: int, weight: float
) -> None:
    """Add a neighbour's weight to its items, by their distance from the last one in common."""
    first = log.starts[session]
    end = first + log.learned[session]
    common = end - 1
    while work.query_steps[log.items[common]] == 0:
        common -= 1
    furthest = len(rule.distance_weights) - 1
    for row in range(first, end):
        if log.same_later[row] < end:
            continue
        item = log.items[row]
        if 0 < work.query_steps[item] <= rule.skip_recent:
            continue
        if work.scores[item] == 0.0:
            work.scored_items[work.sizes[0]] = item
            work.sizes[0] += 1
        # Never exactly zero, so that an item is listed once.
        part = weight * rule.distance_weights[min(abs(row - common), furthest)]
        work.scores[item] += max(part, 1e-300)


@njit(cache=True)
def _weigh_by_idf(log: SessionLog, rule: NeighbourRule, work: Workspace) -> None:
    if rule.idf_weight == 0.0:
        return
    for place in range(work.sizes[0]):
        item = work.scored_items[place]
        idf = np.log(log.totals[1] / log.learned_users[item])
        work.scores[item] *= 1.0 + rule.idf_weight * idf
