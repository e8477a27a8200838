"""Runs the collector until it is told to stop, losing nothing that it accepted."""

from __future__ import annotations

import ipaddress
import logging
import signal
import socket
from collections.abc import Callable
from contextlib import closing
from types import FrameType

import uvicorn
from prometheus_client import start_http_server

from producer.collector.app import ENDED, Counted, build_app
from producer.metrics import CollectorMetrics
from producer.outbox import Outbox
from schemas.errors import BrokerError, RefusedError, SettingsError
from schemas.http_head import BoundedHeads
from schemas.metric_spec import with_process
from schemas.settings import Settings
from schemas.topics import Topic

_LOG = logging.getLogger(__name__)
_BACKLOG = 2048
_BROKERS_S = 2.0
"""How long brokers have to answer before requests are taken all the same."""

Announce = Callable[[str, str | None], None]
"""Called with the collector's address and that of its metrics, if they are served."""


class CollectorServer(uvicorn.Server):
    """uvicorn, stopping where no event can be published any more.

    librdkafka's producer comes to its end where it may write nowhere, or where the brokers have
    lost what they knew of it: then only another process helps.

    Args:
        config: of uvicorn.
        ended: returns why that is so, "" while it is not.
    """

    def __init__(self, config: uvicorn.Config, ended: Callable[[], str]) -> None:
        super().__init__(config)
        self._ended = ended
        self.ended = ""

    async def on_tick(self, counter: int) -> bool:
        """Return whether to stop."""
        self.ended = self._ended()
        return bool(self.ended) or await super().on_tick(counter)


def serve(settings: Settings, announce: Announce) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered first.

    Args:
        settings: see `build_app`.
        announce: told where, once connections are taken.

    Raises:
        RefusedError: the brokers refuse credentials or certificates.
        BrokerError: they refuse what makes publishing idempotent, or have lost track of it.
        SettingsError: an address cannot be bound, or a setting is wrong.
    """
    collector = settings.collector
    _ask_brokers(settings)
    metrics = CollectorMetrics()
    app = build_app(settings, metrics)
    config = uvicorn.Config(
        Counted(app, metrics),
        http=BoundedHeads,
        log_config=None,
        access_log=False,  # it would show write keys in queries
        server_header=False,
        ws="none",
        lifespan="on",
        proxy_headers=bool(collector.trusted_proxies),
        forwarded_allow_ips=collector.trusted_proxies or None,
        limit_concurrency=collector.max_connections,
        timeout_graceful_shutdown=collector.stop_seconds,
    )
    server = CollectorServer(config, app.state[ENDED])
    # uvicorn raises the signal again when it has stopped: that is no reason to die of it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stopped)
    with closing(_bound(collector.host, collector.port)) as listening:
        shown = _shown(collector.host, listening.getsockname()[1])
        with _Metrics(settings, metrics) as metrics_address:
            announce(f"http://{shown}", metrics_address)
            server.run([listening])
    if server.ended:
        raise BrokerError(
            f"no event can be published any more: {server.ended}. Start it again; "
            "`innerloop topics acls` says who needs access to what"
        )
    if not server.started:
        raise SettingsError("the collector did not start; the log says why")


def _ask_brokers(settings: Settings) -> None:
    """End where brokers refuse. That they are away may pass, and so may that a topic is missing."""
    try:
        Outbox(settings, log_level=0).check(Topic.CLICKSTREAM, timeout=_BROKERS_S)
    except RefusedError:
        raise
    except BrokerError as error:
        _LOG.error("no event can be published for now: %s", error)


def _stopped(_number: int, _frame: FrameType | None) -> None:
    _LOG.info("stopped")


class _Metrics:
    """The Prometheus endpoint, apart from what the outside reaches; a context manager."""

    def __init__(self, settings: Settings, metrics: CollectorMetrics) -> None:
        self._enabled = settings.metrics.enabled
        self._host = settings.metrics.host
        self._port = settings.collector.metrics_port
        self._registry = with_process(metrics.registry)
        self._close: Callable[[], None] = lambda: None

    def __enter__(self) -> str | None:
        if not self._enabled:
            return None
        try:
            server, thread = start_http_server(self._port, self._host, self._registry)
        except OSError as error:
            raise SettingsError(
                f"metrics.host, collector.metrics_port: cannot listen on "
                f"{_shown(self._host, self._port)}: {error.strerror or error}; take a free port, "
                "or 0 for any, or metrics.enabled = false"
            ) from error

        def close() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        self._close = close
        return f"http://{_shown(self._host, server.server_port)}/metrics"

    def __exit__(self, *_: object) -> None:
        self._close()


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise SettingsError(
            f"collector.host, collector.port: cannot listen on {_shown(host, port)}: "
            f"{error.strerror or error}; take a free port, or 0 for any"
        ) from error


def _shown(host: str, port: int) -> str:
    try:
        six = ipaddress.ip_address(host).version == 6
    except ValueError:
        six = False
    return f"[{host}]:{port}" if six else f"{host}:{port}"
