"""The item memory in plain Python: every contribution is kept, every number is a sum over them."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from worker.data import EventLog
from worker.item_memory.config import WINDOW, MemoryConfig

Click = tuple[int, int, int]
"""User, item, milliseconds."""


def log_of(clicks: list[Click]) -> EventLog:
    """Return clicks, in time order, as a log."""
    users, items, times = (np.array(column) for column in zip(*clicks, strict=True))
    return EventLog(
        users.astype(np.int32),
        items.astype(np.int32),
        np.zeros(len(clicks), np.int8),
        times.astype(np.int64),
        [str(user) for user in range(int(users.max()) + 1)],
    )


@dataclass
class Sum:
    """A number that fades: what was added, and when (seconds)."""

    parts: list[tuple[float, int]] = field(default_factory=list)

    def add(self, x: float, time: int) -> None:
        self.parts.append((x, time))

    @property
    def latest(self) -> int:
        return max(time for _, time in self.parts)

    def at(self, now: int, half_life: float | None) -> float:
        if not self.parts:
            return 0.0
        if half_life is None:
            return sum(x for x, _ in self.parts)
        now = max(now, self.latest)
        return sum(x * 2.0 ** (-(now - time) / half_life) for x, time in self.parts)


@dataclass
class Neighbour:
    item: int
    weight: Sum


class BruteForce:
    """What `ItemMemory` should know and answer."""

    def __init__(self, config: MemoryConfig, refresh_every: int) -> None:
        self.config = config
        self.refresh_every = refresh_every
        self.followers: dict[int, list[Neighbour]] = defaultdict(list)
        self.predecessors: dict[int, list[Neighbour]] = defaultdict(list)
        self.followers_total: dict[int, Sum] = defaultdict(Sum)
        self.visits: dict[int, Sum] = defaultdict(Sum)
        self.trend: dict[int, Sum] = defaultdict(Sum)
        self.history: dict[int, list[int]] = defaultdict(list)
        self.trending: list[int] = []
        self.clock = 0
        self.since_refresh = 0

    def learn(self, click: Click) -> None:
        user, item, milliseconds = click
        now = milliseconds // 1000
        for distance, source in enumerate(self.recent(user)[:WINDOW], start=1):
            self._strengthen(self.followers[source], item, 1 / distance, now)
            self._strengthen(self.predecessors[item], source, 1 / distance, now)
            self.followers_total[source].add(1 / distance, now)
        self.visits[item].add(1.0, now)
        self.trend[item].add(1.0, now)
        self.history[user].append(item)
        self.clock = max(self.clock, now)
        self.since_refresh += 1

    def refresh_if_due(self) -> None:
        if self.since_refresh >= self.refresh_every:
            self.refresh()

    def refresh(self) -> None:
        self.since_refresh = 0
        trend = {item: self._trend(item) for item in self.trend if self.trend[item].parts}
        self.trending = sorted(trend, key=lambda item: (-trend[item], item))[: self.config.trending]

    def recent(self, user: int) -> list[int]:
        return self.history[user][::-1]

    def _trend(self, item: int) -> float:
        return self.trend[item].at(self.clock, self.config.trend_half_life)

    def _strengthen(self, row: list[Neighbour], item: int, x: float, now: int) -> None:
        for neighbour in row:
            if neighbour.item == item:
                neighbour.weight.add(x, now)
                return
        new = Neighbour(item, Sum([(x, now)]))
        if len(row) < self.config.neighbours:
            row.append(new)
            return
        strength = [neighbour.weight.at(now, self.config.half_life) for neighbour in row]
        row[strength.index(min(strength))] = new

    def collect(
        self, user: int, dense: list[int]
    ) -> tuple[dict[int, tuple[list[float], int, int]], list[float]]:
        """Return candidate → (features, recency, link), and the context; see `Candidates`."""
        config, recent = self.config, self.recent(user)[: self.config.recent]
        found = {
            item
            for source in recent
            for neighbour in self.followers[source] + self.predecessors[source]
            for item in (neighbour.item,)
        }
        found |= {*recent, *self.trending, *dense}
        mass = sum(
            config.position_decay**k * weight.at(self.clock, config.half_life) / self._divisor(s)
            for k, s in enumerate(recent)
            for weight in (neighbour.weight for neighbour in self.followers[s])
        )
        context = [math.log1p(len(recent)), 0.0, 0.0, math.log1p(10 * mass)]
        if recent:
            context[1] = math.log1p(self._divisor(recent[0]) - 1)
            context[2] = math.log1p(self._visits(recent[0]))
        answers = {}
        for item in found:
            links = [k for k, s in enumerate(recent) if self._of(self.followers[s], item)]
            answers[item] = (
                self._features(item, recent, item in dense),
                recent.index(item) if item in recent else -1,
                links[0] if links else -1,
            )
        return answers, context

    def _of(self, row: list[Neighbour], item: int) -> Sum | None:
        return next((n.weight for n in row if n.item == item), None)

    def _weight(self, row: list[Neighbour], item: int) -> float:
        weight = self._of(row, item)
        return 0.0 if weight is None else weight.at(self.clock, self.config.half_life)

    def _divisor(self, source: int) -> float:
        return 1 + self.followers_total[source].at(self.clock, self.config.half_life)

    def _visits(self, item: int) -> float:
        return self.visits[item].at(self.clock, self.config.half_life)

    def _features(self, item: int, recent: list[int], is_dense: bool) -> list[float]:
        decay = [self.config.position_decay**k for k in range(len(recent))]
        after = [self._weight(self.followers[s], item) for s in recent]
        share = [w / self._divisor(s) for w, s in zip(after, recent, strict=True)]
        ahead = [self._weight(self.predecessors[s], item) for s in recent]
        part = [w / (1 + self._visits(s)) for w, s in zip(ahead, recent, strict=True)]
        links = [w for s in recent if (w := self._of(self.followers[s], item)) is not None]
        age = min((max(0, self.clock - w.latest) for w in links), default=0)
        return [
            math.log1p(500 * float(np.dot(decay, share))),
            math.log1p(100 * float(np.dot(decay, after))),
            math.log1p(500 * float(np.dot(decay, part))),
            math.log1p(100 * float(np.dot(decay, ahead))),
            math.log1p(500 * share[0]) if recent else 0.0,
            math.log1p(500 * part[0]) if recent else 0.0,
            float(len(links)),
            math.log1p(age),
            math.log1p(self._visits(item)),
            math.log1p(self._trend(item)),
            math.log1p(self._divisor(item) - 1),
            float(item in self.trending),
            float(is_dense),
        ]
