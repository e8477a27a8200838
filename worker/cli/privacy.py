"""`innerloop privacy`: what users ask for about their own data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.options import BootstrapServersOption, ConfigOption, PropertyOption, settings_from

if TYPE_CHECKING:
    from schemas.privacy import PrivacyAction, PrivacyAudit
    from schemas.settings import Settings

privacy_app = typer.Typer(
    help="Carry out what users ask for about their own data.", no_args_is_help=True
)

UserOption = Annotated[
    str,
    typer.Option(
        "--user",
        help="The user's own id, also where ids are hashed (setting privacy.user_id_key).",
    ),
]
WaitOption = Annotated[bool, typer.Option(help="Wait until workers have carried the request out.")]
TimeoutOption = Annotated[
    float, typer.Option(min=0, metavar="SECONDS", help="The longest wait for that.")
]


@privacy_app.command()
def erase(
    *,
    user: UserOption,
    wait: WaitOption = True,
    timeout: TimeoutOption = 60.0,
    config: ConfigOption = None,
    bootstrap_servers: BootstrapServersOption = None,
    properties: PropertyOption = None,
) -> None:
    """Have everything removed that is kept of a user, and say what was removed.

    What it cannot remove are records in topics that keep them for a time: docs/privacy.md lists
    them. Events of later on make a new user of the same id, unless they say that there is no
    consent.
    """
    from schemas.privacy import PrivacyAction

    settings = settings_from(config, bootstrap_servers, properties)
    _request(settings, PrivacyAction.ERASE, user, timeout if wait else None)


@privacy_app.command()
def withdraw(
    *,
    user: UserOption,
    wait: WaitOption = True,
    timeout: TimeoutOption = 60.0,
    config: ConfigOption = None,
    bootstrap_servers: BootstrapServersOption = None,
    properties: PropertyOption = None,
) -> None:
    """Have no further event of a user used, whatever it says itself, and what is kept removed."""
    from schemas.privacy import PrivacyAction

    settings = settings_from(config, bootstrap_servers, properties)
    _request(settings, PrivacyAction.WITHDRAW_CONSENT, user, timeout if wait else None)


@privacy_app.command()
def grant(
    *,
    user: UserOption,
    wait: WaitOption = True,
    timeout: TimeoutOption = 60.0,
    config: ConfigOption = None,
    bootstrap_servers: BootstrapServersOption = None,
    properties: PropertyOption = None,
) -> None:
    """Have a user's events used from now on, after consent was withdrawn."""
    from schemas.privacy import PrivacyAction

    settings = settings_from(config, bootstrap_servers, properties)
    _request(settings, PrivacyAction.GRANT_CONSENT, user, timeout if wait else None)


@privacy_app.command()
def status(
    *,
    request_id: Annotated[str, typer.Argument(help="As the other commands tell it.")],
    config: ConfigOption = None,
    bootstrap_servers: BootstrapServersOption = None,
    properties: PropertyOption = None,
) -> None:
    """Show the audit records of a request; exit with 1 if there are none."""
    from worker.privacy.inquiry import AuditTrail

    trail = AuditTrail(settings_from(config, bootstrap_servers, properties))
    try:
        records = trail.of(request_id)
    finally:
        trail.close()
    if not records:
        typer.echo(
            f"no audit record of request {request_id}: no worker has carried it out, or its record "
            "is older than the topic keeps them",
            err=True,
        )
        raise typer.Exit(1)
    _show(records)


@privacy_app.command()
def export(
    *,
    user: UserOption,
    out: Annotated[
        Path | None,
        typer.Option(help="Write to this file, for its owner's eyes only.", show_default=False),
    ] = None,
    config: ConfigOption = None,
    bootstrap_servers: BootstrapServersOption = None,
    properties: PropertyOption = None,
) -> None:
    """Write as JSON what all topics hold about a user. It is personal data."""
    import json

    from worker.privacy.inquiry import held_about

    settings = settings_from(config, bootstrap_servers, properties)
    found = held_about(settings, user, lambda name: typer.echo(f"reading {name}", err=True))
    text = json.dumps(found, indent=2, ensure_ascii=False)
    if out is None:
        typer.echo(text)
        return
    _write_private(out, text)
    number = sum(map(len, found["topics"].values()))
    typer.echo(f"{out}: {number} records of {len(found['topics'])} topics")


def _request(settings: Settings, action: PrivacyAction, user: str, timeout_s: float | None) -> None:
    """Make a request and, unless `timeout_s` is None, wait for its audit records."""
    from producer.privacy import PrivacyRequests
    from schemas.pseudonyms import all_pseudonyms
    from worker.privacy.inquiry import AuditTrail

    with PrivacyRequests(settings) as requests:
        if timeout_s is None:
            typer.echo(f"request {requests.request(user, action)} is made")
            return
        trail = AuditTrail(settings)
        try:
            request_id = requests.request(user, action)
            typer.echo(f"request {request_id} is made")
            wanted = len(all_pseudonyms(settings.privacy, user))
            records = trail.wait(request_id, wanted, timeout_s)
        finally:
            trail.close()
    _show(records)
    if len(records) < wanted:
        typer.echo(
            f"{wanted - len(records)} of {wanted} records are not there after {timeout_s:g} s. The "
            "request stands, and a worker carries it out as soon as it can; look again with "
            f"`innerloop privacy status {request_id}`",
            err=True,
        )
        raise typer.Exit(1)


def _show(records: list[PrivacyAudit]) -> None:
    from datetime import UTC, datetime

    for record in records:
        done = datetime.fromtimestamp(record.done_at / 1000, UTC).isoformat(timespec="milliseconds")
        seconds = (record.done_at - record.requested_at) / 1000
        typer.echo(
            f"{record.action.value}: done at {done}, {seconds:.1f} s after it was asked for, by "
            f"{record.part} {record.worker}, partition {record.partition}; states removed: "
            f"{record.states_removed}, null values published: {record.tombstones}"
        )


def _write_private(path: Path, text: str) -> None:
    import os

    from schemas.errors import DataError

    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
    except FileExistsError:
        raise DataError(f"{path} exists; name a file that does not") from None
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from None
