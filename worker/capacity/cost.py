"""What an event costs a worker, and how much of it one worker can do."""

from __future__ import annotations

import math
from dataclasses import dataclass

from schemas.errors import PlanError
from worker.capacity.measured import LEARN_US, SCAN_US, WITH_MEMORY, WITHOUT_MEMORY, Throughput
from worker.capacity.workload import Workload


@dataclass(frozen=True)
class Cost:
    """One worker's work, in µs of its time.

    Attributes:
        event_us: for an event of its own users.
        foreign_us: for an event of another worker's users; 0 without an item memory.
        budget_us: in a second, at the load at which the latency asked for was measured.
        share: that load, of the most events.
    """

    event_us: float
    foreign_us: float
    budget_us: float
    share: float

    def workers(self, events_per_second: float) -> int:
        """Return how many workers it takes for a group's events.

        Each of W workers has R/W events of its own and learns from the R − R/W of the others, so
        R/W·event + (R − R/W)·foreign ≤ budget has to be solved for W.

        Raises:
            PlanError: learning from the others alone takes all of a worker's time.
        """
        left = self.budget_us - events_per_second * self.foreign_us
        if left <= 0:
            cells = math.ceil(2 * events_per_second * self.foreign_us / self.budget_us)
            raise PlanError(
                f"every worker's item memory learns from the events of all, and "
                f"{events_per_second:,.0f} a second take all of a worker's time, however many "
                f"there are; split the users over {cells} or more deployments with topics of their "
                f"own (--cells {cells}), or do without (--no-item-memory, worker.item_memory)"
            )
        own = events_per_second * (self.event_us - self.foreign_us)
        return max(1, math.ceil(own / left))


def measured_cost(
    workload: Workload,
    *,
    most_events: float | None = None,
    load: float | None = None,
) -> Cost:
    """Return what was measured, for this catalogue and this latency.

    Args:
        workload: says which.
        most_events: a worker's events per second at saturation on your machine and with your
            catalogue (`innerloop bench pipeline`), in place of what was measured here.
        load: share of those at which your latency holds, likewise.

    Raises:
        PlanError: no load was measured at which the latency holds, or a figure makes no sense.
    """
    measured = WITH_MEMORY if workload.item_memory else WITHOUT_MEMORY
    share = _share(measured, workload.latency_ms) if load is None else load
    if not 0 < share <= 1:
        raise PlanError(f"--load is {share:g}; right would be a share above 0, at most 1")
    if most_events is not None and not (math.isfinite(most_events) and most_events > 0):
        raise PlanError(f"--most-events is {most_events:g}; right would be a number above 0")
    usual = measured.cpu_us.value
    budget = measured.most_events.value * usual * share
    event = usual + _scan_us(workload.items) - _scan_us(SCAN_US[0][0])
    if most_events is not None:
        # By your figure the same time does so many events, whatever the catalogue.
        event = measured.most_events.value * usual / most_events
    foreign = min(LEARN_US.value, event) if workload.item_memory else 0.0
    return Cost(event, foreign, budget, share)


def _share(measured: Throughput, latency_ms: float) -> float:
    """Return the highest load measured whose p99 is within the latency."""
    fitting = [share for share, p99 in measured.p99_ms if p99 <= latency_ms]
    if not fitting:
        share, least = measured.p99_ms[0]
        raise PlanError(
            f"--latency-ms is {latency_ms:g}, but the least 99th percentile that was measured is "
            f"{least:g} ms, at {share:g} of the most events; measure on your machine with "
            "`innerloop bench pipeline`, and give --load, or allow for more"
        )
    return max(fitting)


def _scan_us(items: int) -> float:
    """Return what scanning so many items takes: linear between what was measured, and beyond."""
    points = [(size, figure.value) for size, figure in SCAN_US]
    if items <= points[0][0]:
        return points[0][1]  # smaller ones were not measured
    later = next((i for i, (size, _) in enumerate(points) if items <= size), len(points) - 1)
    (low, before), (high, after) = points[later - 1], points[later]
    return before + (after - before) * (items - low) / (high - low)
