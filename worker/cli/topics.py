"""`innerloop topics`: create and inspect the topics, and see how far a group is behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from schemas.topics import Topic
from worker.cli.acls import acls
from worker.cli.options import (
    BootstrapServersOption,
    ConfigOption,
    PropertyOption,
    settings_from,
)

if TYPE_CHECKING:
    from worker.kafka_admin import PartitionLag, TopicState

topics_app = typer.Typer(help="Create and inspect the topics.", no_args_is_help=True)
topics_app.command()(acls)

_EMBEDDED_NOTE = (
    "This is the embedded broker: it gives every topic its own number of partitions, and retention "
    "and compaction policies are not applied."
)


@topics_app.command()
def create(
    *,
    config: ConfigOption = None,
    bootstrap_servers: BootstrapServersOption = None,
    properties: PropertyOption = None,
    partitions: Annotated[
        int | None,
        typer.Option(help="Partitions of the topics keyed by user (setting kafka.partitions)."),
    ] = None,
    replication_factor: Annotated[
        int | None,
        typer.Option(help="Copies of each partition (setting kafka.replication_factor)."),
    ] = None,
) -> None:
    """Create every topic that does not exist, with its partitions and policies.

    Topics that exist are left as they are. What is different about them is listed, and the command
    then ends with status 1.
    """
    from worker.kafka_admin import create_topics

    flags = {"partitions": partitions, "replication_factor": replication_factor}
    settings = settings_from(config, bootstrap_servers, properties, kafka=flags)
    states = create_topics(settings)
    _show(states)
    if any(state.differences for state in states):
        typer.echo(
            "Nothing was altered. Change these topics with your Kafka tools, or the settings to "
            "match them.",
            err=True,
        )
        raise typer.Exit(1)


@topics_app.command("list")
def list_(
    *,
    config: ConfigOption = None,
    bootstrap_servers: BootstrapServersOption = None,
    properties: PropertyOption = None,
) -> None:
    """List the topics: partitions, copies, policies, and what is not as it should be."""
    from worker.kafka_admin import inspect_topics

    _show(inspect_topics(settings_from(config, bootstrap_servers, properties)))


@topics_app.command()
def lag(
    *,
    config: ConfigOption = None,
    bootstrap_servers: BootstrapServersOption = None,
    properties: PropertyOption = None,
    group: Annotated[
        str | None,
        typer.Option(help="Consumer group (setting worker.group_id)."),
    ] = None,
    topic: Annotated[
        list[Topic] | None,
        typer.Option(
            metavar="TOPIC", help="Topic; may be given several times (default: clickstream)."
        ),
    ] = None,
) -> None:
    """Show how far a consumer group is behind, partition by partition."""
    from worker.kafka_admin import consumer_lag

    settings = settings_from(config, bootstrap_servers, properties, worker={"group_id": group})
    group_id = settings.worker.group_id
    _show_lag(group_id, consumer_lag(settings, group_id, topic or [Topic.CLICKSTREAM]))


def _show(states: list[TopicState]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("topic", "key", "partitions", "copies", "policy", "state", box=None)
    for state in states:
        policy = "\n".join(f"{key}={value}" for key, value in state.config.items())
        table.add_row(
            state.name,
            state.spec.key,
            str(state.partitions or "-"),
            str(state.replication_factor or "-"),
            policy or "-",
            _state(state),
        )
    Console().print(table)
    if any(state.embedded for state in states):
        typer.echo(_EMBEDDED_NOTE)


def _state(state: TopicState) -> str:
    if not state.exists:
        return "missing"
    if state.differences:
        return "[yellow]differs[/yellow]: " + "; ".join(state.differences)
    return "created" if state.created else "exists"


def _show_lag(group_id: str, lags: list[PartitionLag]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("topic", "partition", "committed", "end", "lag", box=None, title=group_id)
    for entry in lags:
        committed = "-" if entry.committed is None else str(entry.committed)
        table.add_row(entry.topic, str(entry.partition), committed, str(entry.high), str(entry.lag))
    Console().print(table)
    typer.echo(f"total lag: {sum(entry.lag for entry in lags)}")
