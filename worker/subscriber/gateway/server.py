"""Runs the gateway until it is told to stop."""

from __future__ import annotations

import ipaddress
import logging
import signal
import socket
import struct
from collections.abc import Callable
from contextlib import closing
from types import FrameType
from typing import Any

import uvicorn

from schemas.errors import BrokerError, SettingsError
from schemas.http_head import BoundedHeads
from schemas.settings import Settings
from schemas.topics import Topic
from worker.kafka_connection import connect, missing_topic
from worker.metrics_endpoint import serve_metrics
from worker.subscriber.gateway.app import Counted, build_app
from worker.subscriber.gateway.metrics import GatewayMetrics
from worker.subscriber.gateway.routes import Shelf
from worker.subscriber.gateway.streams import ABORT

_LOG = logging.getLogger(__name__)
_BACKLOG = 2048
_RESET = struct.pack("ii", 1, 0)

Announce = Callable[[str, str | None], None]
"""Called with the gateway's address and that of its metrics, if they are served."""


class AbortableProtocol(BoundedHeads):
    """The HTTP protocol, with a way for the application to cut a connection off.

    Closing waits until a client has taken what is written, which one that does not read never does.
    """

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        scope: Any = self.scope
        scope["extensions"] = {ABORT: self._abort}

    def _abort(self) -> None:
        # Reset, else the kernel keeps what is written, and the connection, for one who never reads.
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()


class GatewayServer(uvicorn.Server):
    """uvicorn, ending streams at a stop, and stopping where the topic cannot be read any more.

    Args:
        config: of uvicorn.
        shelf: whose streams they are.
    """

    def __init__(self, config: uvicorn.Config, shelf: Shelf) -> None:
        super().__init__(config)
        self._shelf = shelf
        self.trouble: Exception | None = None

    async def on_tick(self, counter: int) -> bool:
        """Return whether to stop."""
        client = self._shelf.client
        self.trouble = client.sync.trouble if client is not None else None
        return self.trouble is not None or await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop: streams would else go on until the longest wait is over."""
        self._shelf.end_streams()
        await super().shutdown(sockets)


def make_server(settings: Settings, metrics: GatewayMetrics) -> GatewayServer:
    """Return the server of a gateway.

    Raises:
        SettingsError: nobody may read, or everybody from anywhere.
    """
    gateway = settings.gateway
    shelf = Shelf(settings, metrics)
    config = uvicorn.Config(
        Counted(build_app(settings, shelf, metrics), metrics),
        http=AbortableProtocol,
        log_config=None,
        access_log=False,  # it would show tokens in queries, and users
        server_header=False,
        ws="none",
        lifespan="on",
        proxy_headers=bool(gateway.trusted_proxies),
        forwarded_allow_ips=gateway.trusted_proxies or None,
        timeout_graceful_shutdown=gateway.stop_seconds,
    )
    return GatewayServer(config, shelf)


def serve(settings: Settings, announce: Announce) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: brokers, and those of the section `gateway`.
        announce: told where, once connections are taken.

    Raises:
        SettingsError: an address cannot be bound, or a setting is wrong.
        BrokerError: the brokers do not answer, refuse, or do not have a topic, or it cannot be read
            any more.
    """
    gateway = settings.gateway
    metrics = GatewayMetrics()
    _check_topics(settings)
    server = make_server(settings, metrics)
    # uvicorn raises the signal again when it has stopped: that is no reason to die of it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stopped)
    endpoint = settings.metrics.model_copy(update={"port": gateway.metrics_port})
    with bound(gateway.host, gateway.port) as listening:
        shown = _shown(gateway.host, listening.getsockname()[1])
        with serve_metrics(metrics, endpoint) as port:
            at = f"http://{_shown(endpoint.host, port)}/metrics" if port is not None else None
            announce(f"http://{shown}", at)
            server.run([listening])
    if server.trouble is not None:
        raise server.trouble
    if not server.started:
        raise BrokerError("the gateway did not start; the log says why")


def _check_topics(settings: Settings) -> None:
    """Ask first: what goes wrong while the application starts comes out as its traceback."""
    there = connect(settings.kafka).replicas
    wanted = [Topic.RECOMMENDATIONS, *([Topic.CATALOG] if settings.gateway.titles else [])]
    for name in map(settings.kafka.topic, wanted):
        if name not in there:
            raise missing_topic(name)


def _stopped(_number: int, _frame: FrameType | None) -> None:
    _LOG.info("stopped")


def bound(host: str, port: int) -> closing[socket.socket]:
    """Return a listening socket, to be closed.

    Raises:
        SettingsError: the address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return closing(socket.create_server((host, port), family=family, backlog=_BACKLOG))
    except OSError as error:
        raise SettingsError(
            f"gateway.host, gateway.port: cannot listen on {_shown(host, port)}: "
            f"{error.strerror or error}; take a free port, or 0 for any"
        ) from error


def _shown(host: str, port: int) -> str:
    try:
        six = ipaddress.ip_address(host).version == 6
    except ValueError:
        six = False
    return f"[{host}]:{port}" if six else f"{host}:{port}"
