"""`innerloop topics acls`: what each part of innerloop may do on the brokers."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from schemas.access import Identity
from worker.cli.options import (
    BootstrapServersOption,
    ConfigOption,
    PropertyOption,
    settings_from,
)


class Format(enum.StrEnum):
    """What entries are printed as."""

    KAFKA_ACLS = "kafka-acls"
    JSON = "json"
    STRIMZI = "strimzi"
    MARKDOWN = "markdown"


def acls(
    *,
    identity: Annotated[
        list[Identity] | None,
        typer.Option(help="Only of this one; may be given several times."),
    ] = None,
    principal: Annotated[
        str | None,
        typer.Option(
            help="Who it is to Kafka, such as User:shop; for one --identity.", show_default=False
        ),
    ] = None,
    format: Annotated[Format, typer.Option("--format", help="What to print.")] = Format.KAFKA_ACLS,
    apply: Annotated[
        bool, typer.Option("--apply", help="Create the entries on the brokers instead.")
    ] = False,
    config: ConfigOption = None,
    bootstrap_servers: BootstrapServersOption = None,
    properties: PropertyOption = None,
) -> None:
    """Print, or create, the access control entries that each part needs, and no others.

    Topics and groups are called as the settings say. A worker needs entries for transactions only
    where worker.delivery is exactly_once.
    """
    from schemas.errors import SettingsError
    from worker.access_control import FORMATS, access_of, create

    if principal is not None and len(identity or ()) != 1:
        raise SettingsError("--principal names one who is to go by one --identity; give just one")
    settings = settings_from(config, bootstrap_servers, properties)
    accesses = access_of(settings, identity or tuple(Identity), principal)
    if apply:
        typer.echo(f"{create(settings, accesses)} access control entries are there")
    else:
        typer.echo(FORMATS[format.value](accesses, settings.kafka.bootstrap_servers))
