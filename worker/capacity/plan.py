"""From a workload to partitions, workers, memory, disk and network."""

from __future__ import annotations

import math
from dataclasses import dataclass

from schemas.errors import PlanError
from schemas.settings import WorkerSettings
from worker.capacity import measured
from worker.capacity.cost import Cost
from worker.capacity.workload import Workload
from worker.state.user_columns import UserColumns

_DAY_S = 86_400
_MOST_PARTITIONS = 10_000
"""As the setting kafka.partitions has it."""
_RECORD_BYTES = 30
"""Assumed of a record beside its value: a key of 16 bytes, and its share of a batch's header."""
_UNCOMPACTED = 2.0
"""Assumed of compacted topics: by min.cleanable.dirty.ratio half of what is there may be stale."""
_FIRST_CAPACITY = 1024
_GROWING = 1.5
"""While the arena doubles, the old half is there beside the new whole."""


@dataclass(frozen=True)
class Plan:
    """What a workload takes; of one cell where nothing else is said, bytes and seconds.

    What is of the brokers counts all copies.
    """

    workers: int
    partitions: int
    cores: float
    worker_load: float
    """Share of what one worker could do at the most."""
    worker_events_per_second: float
    worker_users: int
    worker_memory_bytes: int
    worker_folder_bytes: int
    """0 where all users are held ready; else of worker.state_folder, a snapshot beside it."""
    device_user_bytes: int
    """Of a user's arrays in the arena."""
    device_bytes_per_million_users: int
    device_memory_bytes: int
    """Of a worker on a GPU: arena while it grows, and item vectors; not measured."""
    restore_seconds: float
    """To read all of a worker's users back from user-state."""
    changelog_bytes: int
    """One copy of user-state, compacted."""
    broker_disk_bytes: int
    broker_in_bytes_per_second: float
    """From producers and workers at the peak, replication aside."""
    broker_replication_bytes_per_second: float
    broker_out_bytes_per_second: float
    """To workers, insights and readers at the peak."""
    total_workers: int
    """Of all cells, as are the next ones."""
    total_cores: float
    total_broker_disk_bytes: int


def make_plan(workload: Workload, cost: Cost) -> Plan:
    """Return what it takes.

    Args:
        workload: what is asked.
        cost: of an event (`measured_cost`).

    Raises:
        PlanError: no number of workers would do, or it would take too many partitions.
    """
    peak = workload.events_per_second / workload.cells
    workers = cost.workers(peak)
    partitions = workers * math.ceil(workload.growth)
    if partitions > _MOST_PARTITIONS:
        raise PlanError(
            f"this would take {partitions:,} partitions, but a topic keyed by user has at most "
            f"{_MOST_PARTITIONS:,} (kafka.partitions); take more --cells or less --growth"
        )
    users = math.ceil(workload.users / workload.cells)
    worker_users = math.ceil(users / workers)
    row = user_row_bytes(workload.dim, workload.rank)
    slots = arena_slots(min(worker_users, workload.resident_users or worker_users))
    disk = _disk_bytes(workload, users, partitions)
    arriving, leaving = _network(workload, peak, workers)
    cores = workers * measured.MACHINE_CORES.value
    return Plan(
        workers=workers,
        partitions=partitions,
        cores=cores,
        worker_load=cost.share,
        worker_events_per_second=peak / workers,
        worker_users=worker_users,
        worker_memory_bytes=_memory_bytes(workload, slots),
        worker_folder_bytes=_folder_bytes(workload, worker_users),
        device_user_bytes=row,
        device_bytes_per_million_users=row * 1_000_000,
        device_memory_bytes=round(_GROWING * slots * row) + workload.items * workload.dim * 4,
        restore_seconds=worker_users / measured.RESTORED_USERS.value,
        changelog_bytes=round(users * (measured.STATE_BYTES.value + _RECORD_BYTES)),
        broker_disk_bytes=disk,
        broker_in_bytes_per_second=arriving,
        broker_replication_bytes_per_second=arriving * (workload.replication_factor - 1),
        broker_out_bytes_per_second=leaving,
        total_workers=workers * workload.cells,
        total_cores=cores * workload.cells,
        total_broker_disk_bytes=disk * workload.cells,
    )


def user_row_bytes(dim: int, rank: int) -> int:
    """Return what a user's arrays take in the arena, by its own layout."""
    from worker.state.compact import CompactLayout  # noqa: PLC0415 - loads torch

    return CompactLayout(dim, rank).row_bytes


def arena_slots(users: int) -> int:
    """Return the slots of an arena that grew to hold so many users: it doubles."""
    return max(_FIRST_CAPACITY, 1 << math.ceil(math.log2(users)))


def _memory_bytes(workload: Workload, slots: int) -> int:
    """Return a worker's resident memory; what is measured for d, r and events is scaled to others.

    Of a slot's bytes those of arrays and recent events are known by layout; the rest is Python's.
    """
    usual = user_row_bytes(96, 8) + columns_bytes(32)
    own = user_row_bytes(workload.dim, workload.rank) + columns_bytes(workload.recent_events)
    user = measured.USER_BYTES.value - usual + own
    item = measured.ITEM_BYTES.value * workload.dim / 96
    if workload.item_memory:
        item += measured.ITEM_MEMORY_BYTES.value
    return round(measured.PROCESS_BYTES.value + workload.items * item + _GROWING * slots * user)


def columns_bytes(recent_events: int) -> int:
    """Return what is held of a user in columns, by their own types."""
    return sum(int(column.nbytes) for column in UserColumns.empty(1, recent_events))


def _folder_bytes(workload: Workload, worker_users: int) -> int:
    if workload.resident_users is None or workload.resident_users >= worker_users:
        return 0
    return round(worker_users * (measured.FOLDER_BYTES.value + measured.SNAPSHOT_BYTES.value))


def _answer_bytes(workload: Workload) -> float:
    """Return what a recommendation takes: what is published for an event less all else in it."""
    told = measured.RING_BYTES.value
    return measured.PUBLISHED_BYTES.value - measured.STATE_BYTES.value - told


def _disk_bytes(workload: Workload, users: int, partitions: int) -> int:
    seconds = workload.retention_days * _DAY_S
    mean = workload.mean / workload.cells
    kept = mean * seconds * (workload.event_bytes + _answer_bytes(workload) + 2 * _RECORD_BYTES)
    compacted = users * (measured.STATE_BYTES.value + _RECORD_BYTES)
    if workload.item_memory:
        ring = WorkerSettings().item_memory_events
        compacted += partitions * ring * measured.RING_BYTES.value
    return round(workload.replication_factor * (kept + _UNCOMPACTED * compacted))


def _network(workload: Workload, peak: float, workers: int) -> tuple[float, float]:
    """Return bytes per second into the brokers, replication aside, and out of them."""
    event = workload.event_bytes + _RECORD_BYTES
    answer = _answer_bytes(workload) + _RECORD_BYTES
    state = measured.STATE_BYTES.value + _RECORD_BYTES
    told = measured.TRANSITION_BYTES.value if workload.item_memory else 0.0
    arriving = peak * (event + answer + state + told)
    # Events go to workers and insights, answers to insights and readers, what items teach to all.
    leaving = peak * (2 * event + (1 + workload.readers) * answer + workers * told)
    return arriving, leaving
