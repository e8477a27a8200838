"""What is asked of a deployment."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from schemas.errors import PlanError


@dataclass(frozen=True)
class Workload:
    """Traffic, users and promises.

    Raises:
        PlanError: a number makes no sense; the message names it as the command's flag.
    """

    events_per_second: float
    """At the peak."""
    users: int
    """With a state: all who had an event within `worker.user_ttl_days`, or ever."""
    items: int
    mean_events_per_second: float | None = None
    """Over a week, for what is stored; None takes the peak."""
    retention_days: float = 7.0
    """Of clickstream and recommendations."""
    latency_ms: float = 200.0
    """99th percentile of event to recommendation at the peak."""
    item_memory: bool = True
    dim: int = 96
    rank: int = 8
    recent_events: int = 32
    resident_users: int | None = None
    """Most users of a worker held ready (`worker.resident_users`); None holds all."""
    cells: int = 1
    """Deployments with topics of their own, each with an equal part of the users."""
    replication_factor: int = 3
    growth: float = 2.0
    """How many times the workers that the partitions are to allow for."""
    readers: int = 1
    """Gateways, sinks and services that each read all of recommendations, insights aside."""
    event_bytes: int = 200
    """Of an event's value as it is published."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "item_memory" or value is None:
                continue
            least = 1 if field.name in _AT_LEAST_ONE else 0
            if (
                not math.isfinite(value)
                or value < least
                or (value == 0 and field.name not in _ZERO)
            ):
                bound = f"{least} or more" if least or field.name in _ZERO else "above 0"
                raise PlanError(
                    f"{_flag(field.name)} is {value:g}; right would be a number, {bound}"
                )
        mean = self.mean_events_per_second
        if mean is not None and mean > self.events_per_second:
            raise PlanError(
                f"--mean-events-per-second is {mean:g}, more than the peak of "
                f"{self.events_per_second:g} (--events-per-second); a mean is at most that"
            )
        if self.cells > self.users:
            raise PlanError(f"--cells is {self.cells}, but there are {self.users} users")

    @property
    def mean(self) -> float:
        """Events per second over a week."""
        return (
            self.events_per_second
            if self.mean_events_per_second is None
            else self.mean_events_per_second
        )


_AT_LEAST_ONE = {
    "users",
    "items",
    "dim",
    "rank",
    "recent_events",
    "resident_users",
    "cells",
    "replication_factor",
    "growth",
    "event_bytes",
}
_ZERO = {"readers"}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
