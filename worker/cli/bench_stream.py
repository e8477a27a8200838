"""`innerloop bench floor`, `pipeline`, `growth`, `soak`, `engines`, `collector`: real processes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from worker.cli.bench_options import (
    BrokerOption,
    BundleOption,
    ItemsOption,
    JsonOption,
    MemoryOption,
    PartitionsOption,
    QuickOption,
    RepeatsOption,
    SeedOption,
    UsersOption,
    measure_and_show,
    repetitions,
    workload_of,
)
from worker.cli.options import ConfigOption, settings_from


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
        repeats=repetitions(repeats, quick),
        workload=workload_of(
            bundle, items, users, partitions, memory=memory, seed=seed, quick=quick, config=config
        ),
    )
    measure_and_show(lambda folder: run_floor(plan, folder), json_out)


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
        repeats=repetitions(repeats, quick),
        workload=workload_of(
            bundle, items, users, partitions, memory=memory, seed=seed, quick=quick, config=config
        ),
    )
    measure_and_show(lambda folder: run_pipeline(plan, folder), json_out)


def growth(
    *,
    over: Annotated[
        list[str] | None,
        typer.Option(
            metavar="users|catalogue|storms|partitions|workers",
            help="What to have more of; may be given several times. (default: all)",
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
    resident: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Along users, also with no more than these held ready, the others on disk. "
            "(default: 10000)",
            show_default=False,
        ),
    ] = None,
    most_ready: Annotated[
        int, typer.Option(min=0, help="Along users, so many or fewer are also all held ready.")
    ] = 100_000,
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
    """How the cost of an event grows with users, catalogue, storms, partitions and workers."""
    from worker.bench.growth import AXES, GrowthPlan, run_growth

    plan = GrowthPlan(
        axes=tuple(over or AXES),
        users=tuple(users or ((50, 200) if quick else (1_000, 10_000, 100_000))),
        resident=resident or (100 if quick else 10_000),
        most_ready=most_ready,
        items=tuple(items or ((200, 400) if quick else (1_000, 10_000, 48_000))),
        partitions=tuple(partitions or ((2, 3) if quick else (2, 8, 32))),
        workers=tuple(workers or (1, 2)),
        broker=broker,
        batches=2 if quick else 8,
        events=events or (300 if quick else 10_000),
        repeats=repetitions(repeats, quick),
        workload=workload_of(
            None, None, None, None, memory=memory, seed=seed, quick=quick, config=config
        ),
    )
    measure_and_show(lambda folder: run_growth(plan, folder), json_out)


def soak(
    *,
    minutes: Annotated[float, typer.Option(min=0.01, help="Under load.")] = 30.0,
    round_seconds: Annotated[float, typer.Option(min=1, help="Of a round.")] = 30.0,
    load: Annotated[
        float, typer.Option(min=0.01, help="Offered load as a share of saturation.")
    ] = 0.5,
    rate: Annotated[
        float | None,
        typer.Option(min=1, help="Offered load in events per second instead.", show_default=False),
    ] = None,
    broker: BrokerOption = "kafka",
    bundle: BundleOption = None,
    items: ItemsOption = None,
    users: UsersOption = None,
    partitions: PartitionsOption = None,
    memory: MemoryOption = True,
    seed: SeedOption = 0,
    quick: QuickOption = False,
    json_out: JsonOption = None,
    config: ConfigOption = None,
) -> None:
    """Half an hour at a steady load: latency, memory and backlog, round by round."""
    import logging

    from worker.bench.soak import SoakPlan, run_soak

    logging.basicConfig(format="%(message)s")
    logging.getLogger("worker.bench.soak").setLevel(logging.INFO)

    plan = SoakPlan(
        minutes=0.05 if quick else minutes,
        round_s=1.0 if quick else round_seconds,
        load=load,
        rate=rate,
        events=300 if quick else 20_000,
        broker=broker,
        workload=workload_of(
            bundle, items, users, partitions, memory=memory, seed=seed, quick=quick, config=config
        ),
    )
    measure_and_show(lambda folder: run_soak(plan, folder), json_out)


def engines(
    *,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            metavar="worker|faust|quix_each|quix_batches",
            help="Which; may be given several times. (default: all)",
            show_default=False,
        ),
    ] = None,
    events: Annotated[
        int | None,
        typer.Option(min=1, help="Events of a repetition. (default: 30000)", show_default=False),
    ] = None,
    environments: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Keep the engines' Python environments here. (default: made anew each time)",
            show_default=False,
        ),
    ] = None,
    bundle: BundleOption = None,
    items: ItemsOption = None,
    users: UsersOption = None,
    partitions: PartitionsOption = None,
    repeats: RepeatsOption = None,
    seed: SeedOption = 0,
    quick: QuickOption = False,
    json_out: JsonOption = None,
    config: ConfigOption = None,
) -> None:
    """The same job by the worker, in Faust and in Quix Streams, on Apache Kafka.

    What is not installed gets an environment of its own, made with uv or pip.
    """
    from worker.bench.engines.bench import NAMES, EnginesPlan, run_engines

    plan = EnginesPlan(
        engines=tuple(engine or NAMES),
        events=events or (300 if quick else 30_000),
        repeats=repetitions(repeats, quick),
        environments=environments,
        workload=workload_of(
            bundle, items, users, partitions, memory=False, seed=seed, quick=quick, config=config
        ),
    )
    measure_and_show(lambda folder: run_engines(plan, folder), json_out)


def collector(
    *,
    broker: BrokerOption = "kafka",
    events: Annotated[
        int | None,
        typer.Option(
            min=100,
            help="Events of a repetition where they are fastest. (default: 20000)",
            show_default=False,
        ),
    ] = None,
    partitions: PartitionsOption = None,
    repeats: RepeatsOption = None,
    seed: SeedOption = 0,
    quick: QuickOption = False,
    json_out: JsonOption = None,
    config: ConfigOption = None,
) -> None:
    """Events over HTTP beside the raw producer: events per second, latency, processor time."""
    from worker.bench.collector import CollectorPlan, run_collector

    plan = CollectorPlan(
        broker=broker,
        events=events or (400 if quick else 20_000),
        repeats=repetitions(repeats, quick),
        partitions=partitions or (3 if quick else 8),
        seed=seed,
        settings=settings_from(config),
    )
    measure_and_show(lambda folder: run_collector(plan, folder), json_out)
