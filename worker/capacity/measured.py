"""Every figure that plans are computed from, and where it was measured. The only place for them.

All are of 2 shared virtual cores of an Intel Xeon (AVX-512 VNNI, AMX) without a GPU, Apache Kafka
on the same cores, d = 96, r = 8, M = 256, 48,000 items and lists of 20 unless something else is
said.
"""

from __future__ import annotations

from dataclasses import dataclass

RESULTS = "docs/benchmarks/results.md"


@dataclass(frozen=True)
class Figure:
    """A measured number."""

    value: float
    unit: str
    source: str
    """The file that tells how it was measured."""


@dataclass(frozen=True)
class Throughput:
    """One worker process under load; medians of three repetitions."""

    most_events: Figure
    """Answered at saturation."""
    cpu_us: Figure
    """The worker's processor time for an event."""
    p99_ms: tuple[tuple[float, float], ...]
    """By share of the most, ascending: the 99th percentile of event to recommendation, ms."""


MACHINE_CORES = Figure(2, "cores", RESULTS)
"""Of the machine that all this was measured on, the broker's among them."""

WITHOUT_MEMORY = Throughput(
    Figure(20_831, "events/s", RESULTS),
    Figure(58, "µs", RESULTS),
    ((0.25, 72), (0.375, 146), (0.5, 176)),
)
WITH_MEMORY = Throughput(
    Figure(9_960, "events/s", RESULTS),
    Figure(126, "µs", RESULTS),
    ((0.25, 82), (0.375, 142), (0.5, 267)),
)

_RANKING = "docs/decisions/0010-ranking-on-cpu.md"
SCAN_US = (
    (48_261, Figure(27, "µs", _RANKING)),
    (500_000, Figure(245, "µs", _RANKING)),
    (2_000_000, Figure(860, "µs", _RANKING)),
)
"""By items: the scan of the catalogue for one user in a micro-batch of 512, ascending."""

_SHARING = "docs/decisions/0007-item-transitions-topic.md"
LEARN_US = Figure(5.3, "µs", _SHARING)
"""To learn an event of another worker's: the item memory of each counts those of all."""
TRANSITION_BYTES = Figure(188, "bytes", _SHARING)
"""Published for an event where 48 are told at a time; 75 where 512 are."""
RING_BYTES = Figure(75, "bytes", _SHARING)
"""Kept in item-transitions for each offset of the ring."""

PUBLISHED_BYTES = Figure(3_500, "bytes", RESULTS)
"""Values published for an event: recommendation, state and item transitions."""
STATE_BYTES = Figure(1_381, "bytes", "docs/decisions/0011-state-encoding.md")
"""Median of a user's record with up to 32 recent events."""

FOLDER_BYTES = Figure(2_139, "bytes", "docs/decisions/0012-users-beyond-memory.md")
"""On disk for a user in worker.state_folder."""
SNAPSHOT_BYTES = Figure(2_060, "bytes", "docs/decisions/0016-warm-restart.md")
"""On disk for a user in the file that a stop leaves, which is written beside the other."""
RESTORED_USERS = Figure(200_000 / 4.96, "users/s", "docs/decisions/0016-warm-restart.md")
"""Read back in full from user-state by one worker."""

_MEMORY = "docs/decisions/0027-deployment.md"
PROCESS_BYTES = Figure(798e6, "bytes", _MEMORY)
"""Resident memory of a worker's process before its catalogue and its users, and without what
librdkafka buffers."""
ITEM_BYTES = Figure(2_158, "bytes", _MEMORY)
"""More for each item of the catalogue."""
ITEM_MEMORY_BYTES = Figure(838, "bytes", _MEMORY)
"""More for each item where there is an item memory."""
USER_BYTES = Figure(4_249, "bytes", _MEMORY)
"""More for each user held ready: arrays on the CPU, columns of 32 recent events, Python's share."""
