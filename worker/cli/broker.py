"""`innerloop broker`: a broker to try innerloop on, in the foreground until Ctrl-C or SIGTERM."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import typer

from schemas.errors import BrokerError

broker_app = typer.Typer(help="Start a broker to try things on.", no_args_is_help=True)

_WATCH_S = 0.5


@broker_app.command()
def embedded(
    brokers: Annotated[int, typer.Option(min=1, max=10, help="Mock brokers in the cluster.")] = 1,
) -> None:
    """Start the embedded broker: in memory, nothing to install, not for production.

    It picks its own port and prints the setting for it. Topics have 4 partitions, no policies, and
    keep about the latest 4.7 MB a partition; everything is gone when it stops.
    """
    from worker.broker.embedded import serve, stop_on_signals

    stop = threading.Event()
    stop_on_signals(stop)
    serve(_announce, stop, brokers)


@broker_app.command()
def kafka(
    *,
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port to listen on.")] = 9092,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Keep records here (default: a temporary folder, removed at the end).",
            show_default=False,
        ),
    ] = None,
    kafka_version: Annotated[
        str | None,
        typer.Option(
            metavar="4.X.Y",
            help="Version of Apache Kafka (default: the one the tests run against).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Start a real Apache Kafka node (KRaft) on loopback. Needs Java 17 or newer, and Maven.

    Maven fetches the jars the first time. Where KAFKA_BOOTSTRAP is set that broker is used instead.
    """
    from worker.broker.embedded import stop_on_signals
    from worker.broker.kafka import KafkaBroker
    from worker.broker.kafka_jars import KAFKA_VERSION

    stop = threading.Event()
    stop_on_signals(stop)
    with KafkaBroker(data, port=port, version=kafka_version or KAFKA_VERSION) as broker:
        _announce(broker.bootstrap_servers)
        if broker.external:
            typer.echo("KAFKA_BOOTSTRAP is set: that broker answers, and none was started.")
            return
        while not stop.wait(_WATCH_S):
            if not broker.running:
                raise BrokerError(f"the Kafka broker ended by itself:\n{broker.log_tail()}")


def _announce(address: str) -> None:
    typer.echo(
        "Broker ready. In other terminals:\n\n"
        f"  export INNERLOOP_KAFKA__BOOTSTRAP_SERVERS={address}\n\n"
        "Ctrl-C stops it."
    )
