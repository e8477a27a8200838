"""`innerloop insights`: what became of recommendations, what is trending, and drift."""

from __future__ import annotations

import logging
from typing import Annotated, Literal

import typer

from worker.cli.options import (
    BootstrapServersOption,
    ConfigOption,
    PropertyOption,
    VerboseOption,
    settings_from,
)
from worker.logs import set_up_logging

insights_app = typer.Typer(
    help="What became of recommendations, what is trending, and drift.", invoke_without_command=True
)


@insights_app.callback()
def run(
    context: typer.Context,
    *,
    group_id: Annotated[
        str | None,
        typer.Option(help="Consumer group (setting insights.group_id).", show_default=False),
    ] = None,
    store: Annotated[
        Literal["auto", "rocksdb", "memory"] | None,
        typer.Option(help="Where tables are kept (setting insights.store).", show_default=False),
    ] = None,
    sample_rate: Annotated[
        float | None,
        typer.Option(
            help="Share of the users looked at (setting insights.sample_rate).", show_default=False
        ),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            help="Port of the Prometheus endpoint, 0 for any (setting insights.metrics_port).",
            show_default=False,
        ),
    ] = None,
    verbose: VerboseOption = False,
    config: ConfigOption = None,
    bootstrap_servers: BootstrapServersOption = None,
    properties: PropertyOption = None,
) -> None:
    """Read `clickstream` and `recommendations`; publish `trending` and `recommendation-outcomes`.

    Without a sub-command, runs until SIGTERM or Ctrl-C. Run several: they share the partitions.
    Nothing else needs it to run.
    """
    if context.invoked_subcommand is not None:
        return
    settings = settings_from(
        config,
        bootstrap_servers,
        properties,
        insights={
            "group_id": group_id,
            "store": store,
            "sample_rate": sample_rate,
            "metrics_port": metrics_port,
        },
    )
    set_up_logging(settings.logging, verbose=verbose)
    if not verbose:
        # Their words on every assignment and commit; what goes wrong they say louder.
        for chatty in ("faust", "mode", "aiokafka", "worker.insights.faust_parts"):
            logging.getLogger(chatty).setLevel(logging.WARNING)

    from worker.insights.service import run_insights

    run_insights(settings)


@insights_app.command()
def report(
    *,
    recompute: Annotated[
        bool,
        typer.Option(
            "--recompute",
            help="Attribute all events of clickstream anew, at once and in memory; tell the live "
            "hit-rate, too, and where recommendation-outcomes says otherwise.",
        ),
    ] = False,
    config: ConfigOption = None,
    bootstrap_servers: BootstrapServersOption = None,
    properties: PropertyOption = None,
) -> None:
    """Show the indicators of each variant, with confidence intervals, as the topics tell them.

    Reads `recommendations` and `recommendation-outcomes` whole, and joins no group.
    """
    from rich.console import Console

    from worker.cli.insights_tables import indicators_table, notes
    from worker.cli.progress import PhaseProgress
    from worker.insights.report import make_report

    settings = settings_from(config, bootstrap_servers, properties)
    console = Console()
    with PhaseProgress(Console(stderr=True)) as progress:
        made = make_report(
            settings, again=recompute, on_phase=progress.start, on_step=progress.advance
        )
    console.print(indicators_table(made, settings.insights))
    for note in notes(made, settings.insights):
        console.print(note)
