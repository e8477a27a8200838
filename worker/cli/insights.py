"""`innerloop insights`: what became of recommendations, what is trending, and drift."""

from __future__ import annotations

import logging
from typing import Annotated, Literal

import typer

from worker.cli.options import (
    BootstrapServersOption,
    ConfigOption,
    PropertyOption,
    settings_from,
)

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
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
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
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    if not verbose:
        # Their words on every assignment and commit; what goes wrong they say louder.
        for chatty in ("faust", "mode", "aiokafka"):
            logging.getLogger(chatty).setLevel(logging.WARNING)

    from worker.insights.service import run_insights

    run_insights(settings)
