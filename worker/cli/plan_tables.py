"""A plan as a table and notes for a person."""

from __future__ import annotations

from rich.table import Table

from worker.capacity import Plan, Workload
from worker.capacity.measured import SCAN_US


def plan_table(workload: Workload, made: Plan) -> Table:
    """Return what each part takes, and how it is meant."""
    of = f" (each of {workload.cells} cells)" if workload.cells > 1 else ""
    table = Table(title=f"What {workload.events_per_second:,.0f} events/s take{of}")
    table.add_column("what", no_wrap=True)
    table.add_column("how much", justify="right", no_wrap=True)
    table.add_column("how it is meant")
    for row in (*_workers(workload, made), *_brokers(workload, made), *_cells(workload, made)):
        table.add_row(*row)
    return table


def notes(workload: Workload, made: Plan) -> list[str]:
    """Return what a reader has to know beside the numbers."""
    found = [
        "Compute is from 2 shared CPU cores, the broker's included; on your machine measure "
        "`innerloop bench pipeline` and give --most-events and --load.",
        "Of a GPU only memory is computed, from the arena's layout; its speed was not measured.",
    ]
    largest = SCAN_US[-1][0]
    if workload.items > largest:
        found.append(f"Ranking was measured up to {largest:,} items; beyond, it is extrapolated.")
    if made.worker_folder_bytes:
        found.append("How often users come back from disk, and what that takes, is not in it.")
    return found


def _workers(workload: Workload, made: Plan) -> list[tuple[str, str, str]]:
    folder = size(made.worker_folder_bytes) if made.worker_folder_bytes else "none"
    sizes = f"d = {workload.dim}, r = {workload.rank}"
    return [
        ("workers", f"{made.workers:,}", f"at {made.worker_load:.0%} of the most that one does"),
        ("partitions", f"{made.partitions:,}", "kafka.partitions; they cannot be added later"),
        ("CPU cores", f"{made.cores:,.0f}", "2 for each worker"),
        ("events of a worker", f"{made.worker_events_per_second:,.0f}/s", ""),
        ("users of a worker", f"{made.worker_users:,}", ""),
        ("memory of a worker", size(made.worker_memory_bytes), "on a CPU, while it grows"),
        ("state folder of a worker", folder, "with a snapshot beside it"),
        ("a user on the device", f"{made.device_user_bytes:,} B", sizes),
        ("a million users there", size(made.device_bytes_per_million_users), "full slots only"),
        ("GPU memory of a worker", size(made.device_memory_bytes), "users while it grows, items"),
        ("restart from nothing", f"{made.restore_seconds:,.0f} s", "users read back"),
    ]


def _brokers(workload: Workload, made: Plan) -> list[tuple[str, str, str]]:
    kept = f"{workload.replication_factor} copies, {workload.retention_days:g} days"
    arriving = f"{size(made.broker_in_bytes_per_second)}/s"
    between = f"{size(made.broker_replication_bytes_per_second)}/s"
    leaving = f"{size(made.broker_out_bytes_per_second)}/s"
    return [
        ("changelog of users", size(made.changelog_bytes), "user-state, one copy, compacted"),
        ("brokers' disk", size(made.broker_disk_bytes), kept),
        ("into the brokers", arriving, "at the peak"),
        ("between the brokers", between, "replication"),
        ("out of the brokers", leaving, "to workers, insights, readers"),
    ]


def _cells(workload: Workload, made: Plan) -> list[tuple[str, str, str]]:
    if workload.cells == 1:
        return []
    return [
        ("workers of all cells", f"{made.total_workers:,}", ""),
        ("CPU cores of all cells", f"{made.total_cores:,.0f}", ""),
        ("brokers' disk of all cells", size(made.total_broker_disk_bytes), ""),
    ]


def size(count: float) -> str:
    """Return bytes in decimal units, as disks and networks are sold in."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000:
            return f"{count:,.{0 if unit == 'B' else 1}f} {unit}"
        count /= 1000
    return f"{count:,.1f} PB"
