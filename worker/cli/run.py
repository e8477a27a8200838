"""`innerloop worker`: serve a bundle on the stream, until told to stop."""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from schemas.errors import SettingsError
from schemas.settings import Settings
from worker.cli.options import (
    BootstrapServersOption,
    ConfigOption,
    PropertyOption,
    VerboseOption,
    settings_from,
)
from worker.logs import set_up_logging

_LOG = logging.getLogger(__name__)


def run_worker(
    *,
    bundle: Annotated[
        Path | None,
        typer.Option(help="Model bundle to serve (setting worker.bundle).", show_default=False),
    ] = None,
    follow_models: Annotated[
        bool | None,
        typer.Option(
            "--follow-models/--no-follow-models",
            help="Serve what `innerloop models` says (setting worker.follow_models).",
            show_default=False,
        ),
    ] = None,
    group_id: Annotated[
        str | None,
        typer.Option(help="Consumer group (setting worker.group_id).", show_default=False),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="auto, cpu or cuda (setting worker.device).", show_default=False),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="CPU threads (setting worker.threads).", show_default=False),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            help="Port of the Prometheus endpoint, 0 for any (setting metrics.port).",
            show_default=False,
        ),
    ] = None,
    verbose: VerboseOption = False,
    config: ConfigOption = None,
    bootstrap_servers: BootstrapServersOption = None,
    properties: PropertyOption = None,
) -> None:
    """Answer every event of `clickstream` with the adapted recommendations of its user.

    Run several: they share the partitions. SIGTERM or Ctrl-C finishes the micro-batch under way,
    commits it and leaves the group.
    """
    settings = settings_from(
        config,
        bootstrap_servers,
        properties,
        worker={
            "bundle": bundle,
            "follow_models": follow_models,
            "group_id": group_id,
            "device": device,
            "threads": threads,
        },
        metrics={"port": metrics_port},
    )
    if settings.worker.bundle is None and not settings.worker.follow_models:
        raise SettingsError(
            "worker.bundle is not set; name a bundle with --bundle, `innerloop train` makes one; "
            "or serve what `innerloop models` publishes, with --follow-models"
        )
    set_up_logging(settings.logging, verbose=verbose)

    from worker.threads import serving_threads

    with serving_threads(settings.worker.threads):
        _serve(settings)


def _serve(settings: Settings) -> None:
    from worker.heap import keep_what_is_loaded
    from worker.rollout.loading import bundle_loader
    from worker.service import WorkerService

    if settings.worker.bundle is None:
        service = WorkerService(settings, None, on_serving=keep_what_is_loaded)
    else:
        own = bundle_loader(settings.worker)(settings.worker.bundle)
        _LOG.info("model %s on %s", own.model.version, own.model.device)
        service = WorkerService(
            settings, own.model, item_memory=own.memory, on_serving=keep_what_is_loaded
        )

    def stop(_signal: int, _frame: FrameType | None) -> None:
        service.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    service.run()
