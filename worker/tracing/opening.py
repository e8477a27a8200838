"""Tracing as the settings ask for it; this module needs no extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from schemas.errors import SettingsError
from schemas.settings import Settings
from worker.metrics import WorkerMetrics

if TYPE_CHECKING:
    from worker.tracing.micro_batches import Tracing


@contextmanager
def traced(settings: Settings, metrics: WorkerMetrics) -> Iterator[Tracing | None]:
    """Give what traces; None where tracing.enabled is off.

    Args:
        settings: all of them.
        metrics: of the worker.

    Raises:
        SettingsError: the packages of the extra `tracing` are not installed.
    """
    if not settings.tracing.enabled:
        yield None
        return
    try:
        from worker.tracing.export import sending  # noqa: PLC0415
        from worker.tracing.micro_batches import Tracing  # noqa: PLC0415
    except ImportError as error:
        raise SettingsError(
            f"tracing.enabled is on, and a package for it is missing ({error.name}): "
            "pip install 'innerloop[tracing]', or switch it off"
        ) from None
    with sending(settings, metrics) as tracer:
        yield Tracing(tracer, settings, metrics)
