"""`innerloop bench`: measure this machine, and innerloop on it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from schemas.errors import BenchError
from worker.cli.options import ConfigOption, settings_from

if TYPE_CHECKING:
    from worker.bench.report import Report
    from worker.bench.workload import Workload

bench_app = typer.Typer(
    help="Measure this machine, and innerloop on it; docs/benchmarks says what each tells.",
    no_args_is_help=True,
)

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


@bench_app.command()
def kernel(
    *,
    users: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            help="Users adapted in one call; may be given several times, as dim and rank. "
            "(default: 64, 512, 4096)",
            show_default=False,
        ),
    ] = None,
    dim: Annotated[
        list[int] | None,
        typer.Option(min=2, help="Width d. (default: 64, 128)", show_default=False),
    ] = None,
    rank: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Columns r. (default: 4, 16)", show_default=False),
    ] = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    repeats: RepeatsOption = None,
    quick: QuickOption = False,
    json_out: JsonOption = None,
) -> None:
    """Adapted users per second: the closed-form inner loop, autograd, and what rivals do."""
    from worker.bench.kernel import KernelPlan, run_kernel

    _prepare_torch(device, threads)
    plan = KernelPlan(
        users=tuple(users or ((4, 70) if quick else (64, 512, 4096))),
        dims=tuple(dim or ((16,) if quick else (64, 128))),
        ranks=tuple(rank or ((2, 4) if quick else (4, 16))),
        device=device,
        repeats=_repeats(repeats, quick),
        at_least_s=0.005 if quick else 0.1,
        quick=quick,
    )
    _run(lambda _: run_kernel(plan), json_out)


@bench_app.command()
def ranking(
    *,
    items: Annotated[
        list[int] | None,
        typer.Option(
            min=100,
            help="Size of a made-up catalogue; may be given several times. "
            "(default: 10000, 48000, 200000)",
            show_default=False,
        ),
    ] = None,
    users: Annotated[
        int | None,
        typer.Option(min=1, help="Users ranked in one call. (default: 512)", show_default=False),
    ] = None,
    dim: Annotated[int, typer.Option(min=2, help="Width d of made-up vectors.")] = 96,
    k: Annotated[int, typer.Option("-k", min=1, help="Length of the lists.")] = 20,
    method: Annotated[
        list[str] | None,
        typer.Option(help="Only this method; may be given several times.", show_default=False),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="A trained bundle, with its --items-file and --events-file, instead.",
            show_default=False,
        ),
    ] = None,
    items_file: Annotated[
        Path | None,
        typer.Option(help="The catalogue (CSV or Parquet).", show_default=False),
    ] = None,
    events_file: Annotated[
        Path | None,
        typer.Option(
            help="Events; its last users are ranked for (CSV or Parquet).", show_default=False
        ),
    ] = None,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    repeats: RepeatsOption = None,
    quick: QuickOption = False,
    json_out: JsonOption = None,
) -> None:
    """Users ranked per second over the size of the catalogue, and recall against exact ranking."""
    from worker.bench.ranking import RankingPlan, run_ranking
    from worker.bench.ranking_case import RealData

    given = (bundle, items_file, events_file)
    real = None
    if bundle is not None and items_file is not None and events_file is not None:
        real = RealData(bundle, items_file, events_file)
    elif any(given):
        raise BenchError("--bundle, --items-file and --events-file go together; one is missing")
    _prepare_torch(device, threads)
    plan = RankingPlan(
        items=tuple(items or ((300, 2_000) if quick else (10_000, 48_000, 200_000))),
        users=users or (40 if quick else 512),
        dim=dim,
        k=k,
        device=device,
        repeats=_repeats(repeats, quick),
        at_least_s=0.01 if quick else 0.3,
        real=real,
        quick=quick,
        methods=tuple(method or ()),
    )
    _run(lambda folder: run_ranking(plan, folder), json_out)


@bench_app.command()
def floor(
    *,
    broker: BrokerOption = "kafka",
    events: Annotated[
        int | None,
        typer.Option(min=1, help="Events of a repetition. (default: 20000)", show_default=False),
    ] = None,
    bundle: BundleOption = None,
    items: ItemsOption = None,
    users: UsersOption = None,
    partitions: PartitionsOption = None,
    memory: MemoryOption = True,
    repeats: RepeatsOption = None,
    seed: SeedOption = 0,
    quick: QuickOption = False,
    json_out: JsonOption = None,
    config: ConfigOption = None,
) -> None:
    """What moving the bytes costs with no work, beside what the worker takes: µs per event."""
    from worker.bench.floor import FloorPlan, run_floor

    plan = FloorPlan(
        broker=broker,
        events=events or (300 if quick else 20_000),
        passes=2 if quick else 10,
        repeats=_repeats(repeats, quick),
        workload=_workload(
            bundle, items, users, partitions, memory=memory, seed=seed, quick=quick, config=config
        ),
    )
    _run(lambda folder: run_floor(plan, folder), json_out)


@bench_app.command()
def pipeline(
    *,
    broker: Annotated[
        Literal["both", "embedded", "kafka"],
        typer.Option(help="Which broker; kafka is that of KAFKA_BOOTSTRAP, else one is started."),
    ] = "both",
    events: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Events at once, to saturate the worker. (default: 20000)",
            show_default=False,
        ),
    ] = None,
    load: Annotated[
        list[float] | None,
        typer.Option(
            min=0.01,
            help="Offered load as a share of saturation; may be given several times. "
            "(default: 0.25, 0.5, 0.75)",
            show_default=False,
        ),
    ] = None,
    rate: Annotated[
        list[float] | None,
        typer.Option(min=1, help="Offered load in events per second instead.", show_default=False),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(min=0.1, help="Of each load. (default: 10)", show_default=False),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 1,
    bundle: BundleOption = None,
    items: ItemsOption = None,
    users: UsersOption = None,
    partitions: PartitionsOption = None,
    memory: MemoryOption = True,
    repeats: RepeatsOption = None,
    seed: SeedOption = 0,
    quick: QuickOption = False,
    json_out: JsonOption = None,
    config: ConfigOption = None,
) -> None:
    """Events per second at most, and p50 to p99.9 from event to recommendation at fixed loads."""
    from worker.bench.brokers import BROKERS
    from worker.bench.pipeline import PipelinePlan, run_pipeline

    plan = PipelinePlan(
        brokers=BROKERS if broker == "both" else (broker,),
        events=events or (300 if quick else 20_000),
        loads=tuple(load or ((0.5,) if quick else (0.25, 0.5, 0.75))),
        rates=tuple(rate or ()),
        seconds=seconds or (1.0 if quick else 10.0),
        warm_up_s=0.2 if quick else 2.0,
        workers=workers,
        repeats=_repeats(repeats, quick),
        workload=_workload(
            bundle, items, users, partitions, memory=memory, seed=seed, quick=quick, config=config
        ),
    )
    _run(lambda folder: run_pipeline(plan, folder), json_out)


@bench_app.command()
def growth(
    *,
    over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="users|catalogue|partitions|workers",
            help="What to have more of; may be given several times. (default: all four)",
            show_default=False,
        ),
    ] = None,
    users: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            help="Users known; may be given several times. (default: 1000, 10000, 100000)",
            show_default=False,
        ),
    ] = None,
    items: Annotated[
        list[int] | None,
        typer.Option(min=100, help="Items. (default: 1000, 10000, 48000)", show_default=False),
    ] = None,
    partitions: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Partitions. (default: 2, 8, 32)", show_default=False),
    ] = None,
    workers: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Worker processes. (default: 1, 2)", show_default=False),
    ] = None,
    broker: BrokerOption = "kafka",
    events: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Events of a repetition, on the broker. (default: 10000)",
            show_default=False,
        ),
    ] = None,
    memory: MemoryOption = True,
    repeats: RepeatsOption = None,
    seed: SeedOption = 0,
    quick: QuickOption = False,
    json_out: JsonOption = None,
    config: ConfigOption = None,
) -> None:
    """How the cost of an event grows with users, catalogue, partitions and workers."""
    from worker.bench.growth import AXES, GrowthPlan, run_growth

    plan = GrowthPlan(
        axes=tuple(over or AXES),
        users=tuple(users or ((50, 200) if quick else (1_000, 10_000, 100_000))),
        items=tuple(items or ((200, 400) if quick else (1_000, 10_000, 48_000))),
        partitions=tuple(partitions or ((2, 3) if quick else (2, 8, 32))),
        workers=tuple(workers or (1, 2)),
        broker=broker,
        batches=2 if quick else 8,
        events=events or (300 if quick else 10_000),
        repeats=_repeats(repeats, quick),
        workload=_workload(
            None, None, None, None, memory=memory, seed=seed, quick=quick, config=config
        ),
    )
    _run(lambda folder: run_growth(plan, folder), json_out)


def _prepare_torch(device: str, threads: int | None) -> None:
    import torch

    from worker.model.serving import pick_device

    pick_device(device)
    if threads is not None:
        torch.set_num_threads(threads)


def _repeats(repeats: int | None, quick: bool) -> int:
    return repeats or (2 if quick else 5)


def _workload(
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


def _run(measure: Callable[[Path], Report], json_out: Path | None) -> None:
    """Measure in a folder that is removed afterwards, show the report, and write it if asked."""
    from rich.console import Console

    from worker.bench.report import write_json
    from worker.bench.table import tables
    from worker.demo.children import interrupted_by_signals

    with (
        tempfile.TemporaryDirectory(prefix="innerloop-bench-") as folder,
        interrupted_by_signals(),
    ):
        report = measure(Path(folder))
    Console().print(tables(report))
    if json_out is not None:
        write_json(report, json_out)
        typer.echo(f"wrote {json_out}")
