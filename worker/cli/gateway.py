"""`innerloop gateway`: recommendations for browsers, and tokens to read them with."""

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

gateway_app = typer.Typer(
    help="Give browsers their users' recommendations, as Server-Sent Events.", no_args_is_help=True
)


@gateway_app.command("serve")
def serve_gateway(
    *,
    host: Annotated[
        str | None,
        typer.Option(help="Address to bind (setting gateway.host).", show_default=False),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port to bind, 0 for any (setting gateway.port).", show_default=False),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            help="Port of the Prometheus endpoint, 0 for any (setting gateway.metrics_port).",
            show_default=False,
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ORIGIN",
            help="Origin whose pages may read; may be given several times (setting "
            "gateway.allowed_origins).",
            show_default=False,
        ),
    ] = None,
    titles: Annotated[
        bool | None,
        typer.Option(
            "--titles/--no-titles",
            help="Add items' titles, from the topic catalog (setting gateway.titles).",
            show_default=False,
        ),
    ] = None,
    open_: Annotated[
        bool | None,
        typer.Option(
            "--open",
            help="Let whoever asks read any user, on loopback only (setting gateway.open).",
            show_default=False,
        ),
    ] = None,
    verbose: VerboseOption = False,
    config: ConfigOption = None,
    bootstrap_servers: BootstrapServersOption = None,
    properties: PropertyOption = None,
) -> None:
    """Serve each user's recommendations as Server-Sent Events and as JSON.

    A browser reads its own user's with a token; secrets that tokens are signed with come from the
    settings: INNERLOOP_GATEWAY__TOKEN_SECRETS__WEB=… makes one called web. SIGTERM or Ctrl-C ends
    it.
    """
    settings = settings_from(
        config,
        bootstrap_servers,
        properties,
        gateway={
            "host": host,
            "port": port,
            "metrics_port": metrics_port,
            "allowed_origins": tuple(allow_origin) if allow_origin else None,
            "titles": titles,
            "open": open_ or None,
        },
    )
    set_up_logging(settings.logging, verbose=verbose)

    from worker.subscriber.gateway.server import serve

    def announce(address: str, metrics_address: str | None) -> None:
        typer.echo(f"Gateway at {address}")
        if metrics_address is not None:
            typer.echo(f"Metrics at {metrics_address}")

    serve(settings, announce)


@gateway_app.command()
def token(
    user_id: Annotated[str, typer.Argument(help="The user's own id.")],
    *,
    expires: Annotated[
        int, typer.Option(min=1, metavar="SECONDS", help="Good for so long.")
    ] = 3600,
    secret: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Name of the secret, if there are several.", show_default=False
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Print a token that lets its bearer read one user's recommendations."""
    from schemas.errors import SettingsError
    from worker.subscriber.tokens import mint_token

    secrets = settings_from(config).gateway.token_secrets
    name = secret or (next(iter(secrets)) if len(secrets) == 1 else None)
    if name is None or name not in secrets:
        raise SettingsError(
            f"--secret: gateway.token_secrets has {', '.join(sorted(secrets)) or 'none'}; "
            "name one of them"
        )
    typer.echo(mint_token(secrets[name].get_secret_value(), user_id, expires, name))
