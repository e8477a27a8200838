"""`innerloop bench kernel`, `ranking` and `policy`: the mathematics, without a broker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from schemas.errors import BenchError
from worker.cli.bench_options import (
    DeviceOption,
    JsonOption,
    QuickOption,
    RepeatsOption,
    ThreadsOption,
    measure_and_show,
    prepare_torch,
    repetitions,
)


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

    prepare_torch(device, threads)
    plan = KernelPlan(
        users=tuple(users or ((4, 70) if quick else (64, 512, 4096))),
        dims=tuple(dim or ((16,) if quick else (64, 128))),
        ranks=tuple(rank or ((2, 4) if quick else (4, 16))),
        device=device,
        repeats=repetitions(repeats, quick),
        at_least_s=0.005 if quick else 0.1,
        quick=quick,
    )
    measure_and_show(lambda _: run_kernel(plan), json_out)


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
    prepare_torch(device, threads)
    plan = RankingPlan(
        items=tuple(items or ((300, 2_000) if quick else (10_000, 48_000, 200_000))),
        users=users or (40 if quick else 512),
        dim=dim,
        k=k,
        device=device,
        repeats=repetitions(repeats, quick),
        at_least_s=0.01 if quick else 0.3,
        real=real,
        quick=quick,
        methods=tuple(method or ()),
    )
    measure_and_show(lambda folder: run_ranking(plan, folder), json_out)


def policy(
    *,
    items: Annotated[
        int | None,
        typer.Option(
            min=100, help="Size of a made-up catalogue. (default: 48000)", show_default=False
        ),
    ] = None,
    users: Annotated[
        int | None,
        typer.Option(min=1, help="Users ranked in one call. (default: 256)", show_default=False),
    ] = None,
    dim: Annotated[int, typer.Option(min=2, help="Width d of made-up vectors.")] = 96,
    k: Annotated[int, typer.Option("-k", min=1, help="Length of the lists.")] = 20,
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    repeats: RepeatsOption = None,
    quick: QuickOption = False,
    json_out: JsonOption = None,
) -> None:
    """What each part of the ranking policy costs, held against ranking without one."""
    from worker.bench.policy import PolicyPlan, run_policies

    prepare_torch(device, threads)
    plan = PolicyPlan(
        items=items or (500 if quick else 48_000),
        users=users or (40 if quick else 256),
        dim=dim,
        k=k,
        device=device,
        repeats=repetitions(repeats, quick),
        at_least_s=0.005 if quick else 0.3,
        quick=quick,
    )
    measure_and_show(lambda folder: run_policies(plan, folder), json_out)
