"""`innerloop plan`: what a workload takes, from what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from worker.capacity import Plan, Workload


def plan(
    *,
    events_per_second: Annotated[float, typer.Option(help="Events a second at the peak.")],
    users: Annotated[
        int, typer.Option(help="Users with a state: all within worker.user_ttl_days, or ever.")
    ],
    items: Annotated[int, typer.Option(help="Items of the catalogue.")],
    mean_events_per_second: Annotated[
        float | None,
        typer.Option(
            help="Events a second over a week, for what is stored (default: the peak).",
            show_default=False,
        ),
    ] = None,
    latency_ms: Annotated[
        float, typer.Option(help="99th percentile of event to recommendation at the peak, ms.")
    ] = 200.0,
    item_memory: Annotated[
        bool, typer.Option(help="Learn about items from the stream (setting worker.item_memory).")
    ] = True,
    cells: Annotated[
        int, typer.Option(help="Deployments with topics of their own that share the users evenly.")
    ] = 1,
    retention_days: Annotated[
        float, typer.Option(help="Retention of clickstream and recommendations, days.")
    ] = 7.0,
    replication_factor: Annotated[int, typer.Option(help="Copies of each partition.")] = 3,
    growth: Annotated[
        float, typer.Option(help="How many times the workers the partitions are to allow for.")
    ] = 2.0,
    readers: Annotated[
        int, typer.Option(help="Who else reads all recommendations: gateways, sinks, services.")
    ] = 1,
    event_bytes: Annotated[int, typer.Option(help="An event's value as published, bytes.")] = 200,
    resident_users: Annotated[
        int | None,
        typer.Option(
            help="Most users of a worker held ready (setting worker.resident_users; default: all).",
            show_default=False,
        ),
    ] = None,
    recent_events: Annotated[
        int, typer.Option(help="Latest events kept per user (setting worker.recent_events).")
    ] = 32,
    dim: Annotated[int, typer.Option(help="The bundle's width d.")] = 96,
    rank: Annotated[int, typer.Option(help="The bundle's rank r.")] = 8,
    most_events: Annotated[
        float | None,
        typer.Option(
            help="A worker's events/s at saturation by `innerloop bench pipeline` on your machine, "
            "in place of what was measured; needed for a GPU.",
            show_default=False,
        ),
    ] = None,
    load: Annotated[
        float | None,
        typer.Option(
            help="Share of those at which your latency holds, likewise.", show_default=False
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compute partitions, workers, memory, disk and network for a workload.

    From figures that were measured on two CPU cores (docs/benchmarks/results.md), or on your own
    machine where you give them. docs/operations.md has examples, and says what is assumed.
    """
    from worker.capacity import Workload, make_plan, measured_cost

    workload = Workload(
        events_per_second=events_per_second,
        users=users,
        items=items,
        mean_events_per_second=mean_events_per_second,
        retention_days=retention_days,
        latency_ms=latency_ms,
        item_memory=item_memory,
        dim=dim,
        rank=rank,
        recent_events=recent_events,
        resident_users=resident_users,
        cells=cells,
        replication_factor=replication_factor,
        growth=growth,
        readers=readers,
        event_bytes=event_bytes,
    )
    made = make_plan(workload, measured_cost(workload, most_events=most_events, load=load))
    if json_:
        _print_json(workload, made)
    else:
        _print_tables(workload, made)


def _print_json(workload: Workload, made: Plan) -> None:
    from dataclasses import asdict

    import msgspec

    report = {"workload": asdict(workload), "plan": asdict(made)}
    typer.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())


def _print_tables(workload: Workload, made: Plan) -> None:
    from rich.console import Console

    from worker.cli.plan_tables import notes, plan_table

    console = Console()
    console.print(plan_table(workload, made))
    for note in notes(workload, made):
        console.print(note)
