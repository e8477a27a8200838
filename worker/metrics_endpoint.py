"""The Prometheus endpoint, and the page that documents what it serves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from prometheus_client import CollectorRegistry, start_http_server

from schemas.errors import SettingsError
from schemas.metric_spec import described, with_process
from schemas.settings import MetricsSettings
from worker.health import Health, with_health
from worker.metrics import OPEN_LABELS, SPECS


class Served(Protocol):
    """The metrics of a process, whatever its kind."""

    @property
    def registry(self) -> CollectorRegistry:
        """What is scraped."""
        ...


@contextmanager
def serve_metrics(
    metrics: Served, settings: MetricsSettings, health: Health | None = None
) -> Iterator[int | None]:
    """Serve the metrics at http://host:port/metrics while the block runs.

    Args:
        metrics: served.
        settings: where.
        health: served beside them, at /health and /ready.

    Yields:
        The port, which differs from the setting where that is 0; None if the endpoint is off.

    Raises:
        SettingsError: the address cannot be bound.
    """
    if not settings.enabled:
        yield None
        return
    try:
        server, thread = start_http_server(
            settings.port, settings.host, with_process(metrics.registry)
        )
    except OSError as error:
        raise SettingsError(
            f"metrics.host, metrics.port: cannot listen on {settings.host}:{settings.port}: "
            f"{error.strerror or error}; take a free port, or 0 for any, or metrics.enabled = false"
        ) from error
    if health is not None:
        app = server.get_app()
        assert app is not None  # the metrics
        server.set_app(with_health(app, health))
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def metrics_reference() -> str:
    """Return the worker's metrics as Markdown: how docs/metrics.md begins."""
    lines = [
        "# Metrics",
        "",
        "What `innerloop worker` serves at `http://127.0.0.1:9464/metrics`, in Prometheus' format "
        "(settings `metrics.host`, `metrics.port`, `metrics.enabled`). Beside it `/health` "
        "and `/ready` answer 200 or 503 and say why. Written from "
        "`worker/metrics/`, which defines them; a test compares the two.",
        "",
        "Every process also serves what all Prometheus clients call by these names, on Linux: "
        "`process_cpu_seconds_total`, `process_resident_memory_bytes`, "
        "`process_virtual_memory_bytes`, `process_start_time_seconds`, `process_open_fds` and "
        "`process_max_fds`. What to make of all these: [docs/monitoring.md](monitoring.md).",
    ]
    lines += described(SPECS.values(), OPEN_LABELS)
    return "\n".join(lines) + "\n"
