"""The stream, event by event: rank, then learn, then remember."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from worker.data import EventLog
from worker.evaluation.baselines.ranking import CatalogueRanker
from worker.evaluation.top_lists import TopLists
from worker.ranking_quality import TOP

Score = Callable[[Sequence[int]], NDArray[np.float64]]
"""From a user's recent items, oldest first, to the scores of the whole catalogue, (n_items,).

The array may be the method's own buffer: it is read before the next call."""

Learn = Callable[[Sequence[int], int], None]
"""Learns from one event: the user's recent items before it, oldest first, and its item."""


class PrequentialScorer(Protocol):
    """A method as the stream sees it: asked before an event, told after it."""

    def scores(self, user: int, time: int) -> NDArray[np.float64]:
        """Score the whole catalogue for the user's next event, at `time` in milliseconds.

        Returns:
            (n_items,) finite. It may be the method's own buffer: it is read before the next call.
        """
        ...

    def learn(self, user: int, item: int, time: int) -> None:
        """Take in an event, scored or not, of any user.

        A method that does not learn online only extends the user's history.
        """
        ...


class UserHistories:
    """The last `length` items of every user, oldest first."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._items: dict[int, deque[int]] = {}

    def of(self, user: int) -> Sequence[int]:
        """Return the user's recent items, oldest first; empty for an unknown user."""
        return self._items.get(user, ())

    def append(self, user: int, item: int) -> None:
        """Remember one more event."""
        history = self._items.get(user)
        if history is None:
            history = self._items[user] = deque(maxlen=self._length)
        history.append(item)

    def follow(self, events: EventLog, learn: Learn | None = None) -> None:
        """Go through `events` in order, learning from each before it is remembered."""
        for user, item in zip(events.users.tolist(), events.items.tolist(), strict=True):
            if learn is not None:
                learn(self.of(user), item)
            self.append(user, item)


class HistoryScorer:
    """`PrequentialScorer` of a method that knows a user by the recent items alone."""

    def __init__(self, histories: UserHistories, score: Score, learn: Learn | None = None) -> None:
        """Take the parts.

        Args:
            histories: what users did before the cut; extended by every event of the stream.
            score: asked once per scored event.
            learn: told every event; None for a method that stays as it stands at the cut.
        """
        self._histories = histories
        self._score = score
        self._learn = learn

    def scores(self, user: int, time: int) -> NDArray[np.float64]:
        """See `PrequentialScorer.scores`."""
        return self._score(self._histories.of(user))

    def learn(self, user: int, item: int, time: int) -> None:
        """See `PrequentialScorer.learn`."""
        if self._learn is not None:
            self._learn(self._histories.of(user), item)
        self._histories.append(user, item)


class SeenItems:
    """Every item that the given users have acted on so far."""

    def __init__(self, users: NDArray[np.int32], train: EventLog) -> None:
        self._items: dict[int, set[int]] = {user: set() for user in users.tolist()}
        for user, item in zip(train.users.tolist(), train.items.tolist(), strict=True):
            self.add(user, item)

    def of(self, user: int) -> set[int]:
        """Return the items of one of the given users."""
        return self._items[user]

    def add(self, user: int, item: int) -> None:
        """Remember one more event; of other users, nothing."""
        if user in self._items:
            self._items[user].add(item)


def replay(
    train: EventLog,
    stream: EventLog,
    scored: NDArray[np.bool_],
    *,
    ranker: CatalogueRanker,
    scorer: PrequentialScorer,
    exclude_seen: bool = False,
    lists: TopLists | None = None,
) -> NDArray[np.int32]:
    """Go through the stream once, test then learn; see `StreamRecommender.prequential_ranks`.

    Args:
        train: the events before the cut.
        stream: the events after it, in time order.
        scored: (len(stream),) which events to rank.
        ranker: turns scores into ranks.
        scorer: the method, with the training events taken in; asked before each scored event,
            told every event after it has been ranked.
        exclude_seen: leave out what the user has already acted on. An event on such an item
            has no right answer then and gets -1.
        lists: collects the top lists of the ranked events that it wants.

    Raises:
        ValueError: `scored` is not as long as `stream`.
    """
    if len(scored) != len(stream):
        raise ValueError(f"scored has {len(scored)} entries for {len(stream)} events")
    ranks = np.full(len(stream), -1, dtype=np.int32)
    seen = SeenItems(np.unique(stream.users[scored]), train) if exclude_seen else None
    if lists is not None:
        lists.advance(0)
    events = (stream.users.tolist(), stream.items.tolist(), stream.times.tolist())
    for row, (user, item, time, wanted) in enumerate(zip(*events, scored.tolist(), strict=True)):
        if wanted:
            excluded = seen.of(user) if seen is not None else set()
            if item not in excluded:
                scores, others = scorer.scores(user, time), tuple(excluded)
                ranks[row] = ranker.rank(scores, item, others)
                if lists is not None and lists.wants(row):
                    lists.add(row, ranker.top(scores, TOP, others))
            if lists is not None:
                lists.advance(1)
        scorer.learn(user, item, time)
        if seen is not None:
            seen.add(user, item)
    return ranks
