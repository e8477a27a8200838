"""`innerloop sink`: recommendations into other stores."""

from __future__ import annotations

import importlib.util
import signal
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

sink_app = typer.Typer(help="Copy recommendations into a store.", no_args_is_help=True)


@sink_app.callback()
def sink() -> None:
    """Copy recommendations into a store."""


@sink_app.command("redis")
def redis_(
    *,
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where Redis is (setting sink.redis_url). Keep passwords in the environment or "
            "the settings file.",
            show_default=False,
        ),
    ] = None,
    verbose: VerboseOption = False,
    config: ConfigOption = None,
    bootstrap_servers: BootstrapServersOption = None,
    properties: PropertyOption = None,
) -> None:
    """Keep each user's latest recommendation in Redis, for whoever reads by key.

    Offsets are committed after the records are written. Several may run: they share the partitions.
    SIGTERM or Ctrl-C ends it.
    """
    from schemas.errors import SettingsError

    settings = settings_from(config, bootstrap_servers, properties, sink={"redis_url": url})
    set_up_logging(settings.logging, verbose=verbose)
    if importlib.util.find_spec("redis") is None:
        raise SettingsError(
            "innerloop sink redis needs the package redis: pip install innerloop[redis]"
        )

    from worker.metrics_endpoint import serve_metrics
    from worker.subscriber.redis_sink.metrics import SinkMetrics
    from worker.subscriber.redis_sink.service import RedisSink, stopping

    metrics = SinkMetrics()
    sink = RedisSink(settings, metrics)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stopping(sink))
    endpoint = settings.metrics.model_copy(update={"port": settings.sink.metrics_port})
    with serve_metrics(metrics, endpoint) as port:
        typer.echo("Sink ready")
        if port is not None:
            typer.echo(f"Metrics at http://{endpoint.host}:{port}/metrics")
        sink.run()
