"""Flags that several benchmarks share, and what they all do with them."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from worker.cli.options import settings_from

if TYPE_CHECKING:
    from worker.bench.report import Report
    from worker.bench.workload import Workload

JsonOption = Annotated[
    Path | None,
    typer.Option(
        "--json", metavar="OUT", help="Also write the report as JSON.", show_default=False
    ),
]
QuickOption = Annotated[
    bool, typer.Option("--quick", help="Small and short: to see that it runs, not to measure.")
]
RepeatsOption = Annotated[
    int | None,
    typer.Option(
        min=1, help="Repetitions that count, after a warm-up. (default: 5)", show_default=False
    ),
]
BundleOption = Annotated[
    Path | None,
    typer.Option(
        help="Serve this bundle, its items being the catalogue. (default: one is made up)",
        show_default=False,
    ),
]
ItemsOption = Annotated[
    int | None,
    typer.Option(
        min=100, help="Catalogue of the made-up bundle. (default: 48000)", show_default=False
    ),
]
UsersOption = Annotated[
    int | None,
    typer.Option(min=1, help="Users that act. (default: 20000)", show_default=False),
]
PartitionsOption = Annotated[
    int | None,
    typer.Option(min=1, help="Partitions, on Apache Kafka. (default: 8)", show_default=False),
]
MemoryOption = Annotated[
    bool, typer.Option("--memory/--no-memory", help="Give the made-up bundle an item memory.")
]
SeedOption = Annotated[int, typer.Option(help="Seed of every draw.")]
BrokerOption = Annotated[
    Literal["embedded", "kafka"],
    typer.Option(help="Which broker; kafka is that of KAFKA_BOOTSTRAP, else one is started."),
]

DeviceOption = Annotated[
    Literal["cpu", "cuda"], typer.Option(help="Where arrays live and work is done.")
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(min=1, help="CPU threads of torch. (default: its own)", show_default=False),
]

_QUICK_ITEMS, _QUICK_USERS, _QUICK_PARTITIONS = 400, 60, 3


def prepare_torch(device: str, threads: int | None) -> None:
    """Make sure that there is such a device, and set the threads."""
    import torch

    from worker.model.serving import pick_device

    pick_device(device)
    if threads is not None:
        torch.set_num_threads(threads)


def repetitions(repeats: int | None, quick: bool) -> int:
    """Return how many repetitions count."""
    return repeats or (2 if quick else 5)


def workload_of(
    bundle: Path | None,
    items: int | None,
    users: int | None,
    partitions: int | None,
    *,
    memory: bool,
    seed: int,
    quick: bool,
    config: Path | None,
) -> Workload:
    """Return what the flags ask for."""
    from worker.bench.workload import Workload

    return Workload(
        bundle=bundle,
        items=items or (_QUICK_ITEMS if quick else 48_000),
        users=users or (_QUICK_USERS if quick else 20_000),
        partitions=partitions or (_QUICK_PARTITIONS if quick else 8),
        memory=memory,
        seed=seed,
        settings=settings_from(config),
    )


def measure_and_show(measure: Callable[[Path], Report], json_out: Path | None) -> None:
    """Measure in a folder that is removed afterwards, show the report, and write it if asked."""
    from rich.console import Console

    from worker.bench.report import write_json
    from worker.bench.table import tables
    from worker.demo.children import interrupted_by_signals

    # Else what clients say as a broker starts or stops would go to standard error.
    logging.getLogger("librdkafka").addHandler(logging.NullHandler())
    with (
        tempfile.TemporaryDirectory(prefix="innerloop-bench-") as folder,
        interrupted_by_signals(),
    ):
        report = measure(Path(folder))
    Console().print(tables(report))
    if json_out is not None:
        write_json(report, json_out)
        typer.echo(f"wrote {json_out}")
