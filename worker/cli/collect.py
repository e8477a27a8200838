"""`innerloop collect`: the HTTP collector, until told to stop."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.cli.options import (
    BootstrapServersOption,
    ConfigOption,
    PropertyOption,
    VerboseOption,
    settings_from,
)
from worker.logs import set_up_logging


def collect(
    *,
    host: Annotated[
        str | None,
        typer.Option(help="Address to bind (setting collector.host).", show_default=False),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port to bind, 0 for any (setting collector.port).", show_default=False),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            help="Port of the Prometheus endpoint, 0 for any (setting collector.metrics_port).",
            show_default=False,
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="Origin whose pages may send events; may be given several times (setting "
            "collector.allowed_origins).",
            show_default=False,
        ),
    ] = None,
    verbose: VerboseOption = False,
    config: ConfigOption = None,
    bootstrap_servers: BootstrapServersOption = None,
    properties: PropertyOption = None,
) -> None:
    """Take events over HTTP and publish them to `clickstream`.

    An event is answered 202 once the brokers have acknowledged it. Write keys come from the
    settings: INNERLOOP_COLLECTOR__WRITE_KEYS__WEB=… makes one called web. SIGTERM or Ctrl-C answers
    what is under way and ends.
    """
    settings = settings_from(
        config,
        bootstrap_servers,
        properties,
        collector={
            "host": host,
            "port": port,
            "metrics_port": metrics_port,
            "allowed_origins": tuple(allow_origin) if allow_origin else None,
        },
    )
    set_up_logging(settings.logging, verbose=verbose)

    from producer.collector.server import serve

    def announce(address: str, metrics_address: str | None) -> None:
        typer.echo(f"Collector ready at {address}")
        if metrics_address is not None:
            typer.echo(f"Metrics at {metrics_address}")

    serve(settings, announce)
