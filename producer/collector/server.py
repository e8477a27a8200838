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

from producer.collector.app import Counted, build_app
from producer.metrics import CollectorMetrics
from schemas.errors import SettingsError
from schemas.metric_spec import with_process
from schemas.settings import Settings

_LOG = logging.getLogger(__name__)
_BACKLOG = 2048

Announce = Callable[[str, str | None], None]
"""Called with the collector's address and that of its metrics, if they are served."""


def serve(settings: Settings, announce: Announce) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered first.

    Args:
        settings: see `build_app`.
        announce: told where, once connections are taken.

    Raises:
        SettingsError: an address cannot be bound, or a setting is wrong.
    """
    collector = settings.collector
    metrics = CollectorMetrics()
    app = build_app(settings, metrics)
    config = uvicorn.Config(
        Counted(app, metrics),
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
    server = uvicorn.Server(config)
    # uvicorn raises the signal again when it has stopped: that is no reason to die of it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stopped)
    with closing(_bound(collector.host, collector.port)) as listening:
        shown = _shown(collector.host, listening.getsockname()[1])
        with _Metrics(settings, metrics) as metrics_address:
            announce(f"http://{shown}", metrics_address)
            server.run([listening])
    if not server.started:
        raise SettingsError("the collector did not start; the log says why")


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
