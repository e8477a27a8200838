"""`innerloop storefront`: the demo's page, for collector, worker and gateway that run already."""

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


def storefront(
    *,
    collector: Annotated[
        str, typer.Option(metavar="ORIGIN", help="Where `innerloop collect` is.")
    ] = "http://127.0.0.1:8480",
    gateway: Annotated[
        str, typer.Option(metavar="ORIGIN", help="Where `innerloop gateway serve` is.")
    ] = "http://127.0.0.1:8481",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port of loopback to bind, 0 for any.")
    ] = 8482,
    verbose: VerboseOption = False,
    config: ConfigOption = None,
    bootstrap_servers: BootstrapServersOption = None,
    properties: PropertyOption = None,
) -> None:
    """Serve a small shop on which one's own clicks can be seen to change the shelf.

    It shows what the topic `catalog` holds, all of it at once: for catalogues of some ten thousand
    items at most. Write key and token secret are those of collector and gateway, from the same
    settings; both have to allow the page's origin (collector.allowed_origins,
    gateway.allowed_origins). For demonstrations, so it binds to loopback. SIGTERM or Ctrl-C ends
    it.
    """
    settings = settings_from(config, bootstrap_servers, properties)
    set_up_logging(settings.logging, verbose=verbose)

    from producer import Tracker
    from producer.privacy import PrivacyRequests
    from worker.demo.storefront.server import addresses_of, serve

    addresses = addresses_of(settings, collector, gateway)
    source = "/innerloop/storefront"
    with Tracker(settings, source=source) as tracker, PrivacyRequests(settings) as requests:

        def show(user_id: str, item_id: str) -> str:
            return tracker.impression(user_id=user_id, item_id=item_id).event_id

        def announce(address: str) -> None:
            typer.echo(f"Storefront at {address}")

        serve(settings, addresses, port, show=show, erase=requests.erase, announce=announce)
