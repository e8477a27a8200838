"""Runs the storefront until it is told to stop."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Callable
from contextlib import closing
from types import FrameType
from urllib.parse import urlsplit

import uvicorn

from schemas.errors import BrokerError, SettingsError
from schemas.settings import Settings
from worker.demo.storefront.app import Addresses, Shop, build_app
from worker.demo.storefront.goods import Goods
from worker.demo.storefront.guests import Guests
from worker.demo.storefront.start_shelf import SHOW, StartShelf
from worker.subscriber.async_client import AsyncRecommendationClient

_LOG = logging.getLogger(__name__)
_HOST = "127.0.0.1"  # whoever reaches it may be anybody, so nobody else is to reach it


def addresses_of(settings: Settings, collector: str, gateway: str) -> Addresses:
    """Return what the page talks to; the write key is the first of the collector's.

    Raises:
        SettingsError: an address is no origin, or there is no write key.
    """
    for flag, address in (("--collector", collector), ("--gateway", gateway)):
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
            raise SettingsError(f"{flag}: {address} is no origin such as http://127.0.0.1:8480")
    keys = settings.collector.write_keys
    if not keys:
        raise SettingsError(
            "collector.write_keys is empty, and the page needs a key to send events; right would "
            "be INNERLOOP_COLLECTOR__WRITE_KEYS__WEB=…, the same as the collector's"
        )
    key = next(iter(keys.values())).get_secret_value()
    return Addresses(collector.rstrip("/"), gateway.rstrip("/"), key)


def serve(
    settings: Settings,
    addresses: Addresses,
    port: int,
    *,
    show: SHOW,
    erase: Callable[[str], str],
    announce: Callable[[str], None],
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: brokers, wire format, privacy, and the gateway's secrets.
        addresses: what the page talks to.
        port: of loopback; 0 takes a free one.
        show: publishes that an item was shown.
        erase: asks for a user's erasure.
        announce: told where the page is, once connections are taken.

    Raises:
        SettingsError: the port cannot be bound, or there is no secret.
        BrokerError: the brokers do not answer, or lack a topic.
    """
    guests = Guests(settings.gateway)
    client = AsyncRecommendationClient(settings)
    with Goods(settings) as goods, closing(_bound(port)) as listening:
        shop = Shop(addresses, guests, goods, StartShelf(client, show, goods.any), erase)
        config = uvicorn.Config(
            build_app(shop, client),
            log_config=None,
            access_log=False,
            server_header=False,
            ws="none",
            lifespan="on",
            timeout_graceful_shutdown=2,
        )
        server = uvicorn.Server(config)
        # uvicorn raises the signal again when it has stopped: that is no reason to die of it.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stopped)
        announce(f"http://{_HOST}:{listening.getsockname()[1]}")
        server.run([listening])
    if not server.started:
        raise BrokerError("the storefront did not start; the log says why")


def _bound(port: int) -> socket.socket:
    try:
        return socket.create_server((_HOST, port))
    except OSError as error:
        raise SettingsError(
            f"--port: cannot listen on {_HOST}:{port}: {error.strerror or error}; take a free "
            "port, or 0 for any"
        ) from error


def _stopped(_number: int, _frame: FrameType | None) -> None:
    _LOG.info("stopped")
