"""`innerloop train`: events and items in, from files or topics, a model bundle out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import SettingsError
from worker.cli.options import (
    BootstrapServersOption,
    ConfigOption,
    PropertyOption,
    settings_from,
)

if TYPE_CHECKING:
    from schemas.settings import Settings
    from worker.training.sources import TrainingSource
    from worker.training.trained import Epoch


def train(
    *,
    out: Annotated[Path, typer.Option(help="Folder of the bundle to write.")],
    events: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|FOLDER|'PATTERN'",
            help="Events: user_id, item_id, event_type, timestamp (CSV or Parquet); of many files"
            " a folder of Parquet or a pattern, such as 'shards/*.parquet'.",
            show_default=False,
        ),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|FOLDER|'PATTERN'",
            help="Items: item_id, title and more (CSV or Parquet).",
            show_default=False,
        ),
    ] = None,
    from_kafka: Annotated[
        bool,
        typer.Option(
            "--from-kafka",
            help="Train on what the topics clickstream and catalog hold now, in place of files.",
        ),
    ] = False,
    hold_out: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN=VALUE,…",
            help="Leave a scenario's events out, such as category_code=auto.*: a column of the"
            " items or else the events file.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of every random draw.")] = 0,
    cut: Annotated[
        float,
        typer.Option(
            min=0.01, max=0.99, help="Users first seen after this quantile of time are held out."
        ),
    ] = 0.75,
    encoder: Annotated[
        Path | None,
        typer.Option(
            help="Text encoder to use, from `innerloop export-encoder` (default: export one)."
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Most epochs (setting training.epochs).")
    ] = None,
    dim: Annotated[
        int | None, typer.Option(help="Width of the model (setting training.dim).")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on where the same training was interrupted (checkpoint: OUT.checkpoint).",
        ),
    ] = False,
    config: ConfigOption = None,
    bootstrap_servers: BootstrapServersOption = None,
    properties: PropertyOption = None,
) -> None:
    """Meta-train a model on the users seen before a time cut, and write it as a bundle.

    The events and items are those of files, or of the topics (--from-kafka).

    Every other hyper-parameter is a setting of the section [training].
    """
    settings = settings_from(
        config, bootstrap_servers, properties, training={"epochs": epochs, "dim": dim}
    )
    source = _source(settings, events, items, from_kafka=from_kafka, hold_out=hold_out)

    from rich.console import Console

    from worker.cli.progress import PhaseProgress
    from worker.topic_history import left_out_text
    from worker.training.bundle_writer import TrainingJob, train_bundle
    from worker.training.progress import Progress

    console = Console()
    job = TrainingJob(source, out, cut, seed, settings.training, encoder, device, resume)
    with PhaseProgress(console) as bar:

        def show(epoch: Epoch) -> None:
            mark = "  (best)" if epoch.best else ""
            console.print(
                f"epoch {epoch.number}: loss {epoch.loss:.3f},"
                f" validation HR@20 {epoch.validation.hit_rate:.4f}{mark}"
            )

        manifest = train_bundle(job, Progress(bar.start, bar.advance, show))
    console.print(
        f"bundle {manifest.version} in {out}: validation HR@20"
        f" {manifest.metrics['validation_hr@20']:.4f}, MRR@20"
        f" {manifest.metrics['validation_mrr@20']:.4f},"
        f" {manifest.provenance.train_events:,} events of"
        f" {manifest.provenance.train_users:,} users"
    )
    if (held := manifest.provenance.held_out) is not None:
        console.print(f"held out: {held.events:,} events of {held.column}={','.join(held.values)}")
    if from_kafka:
        console.print(left_out_text(manifest.provenance.left_out))


def _source(
    settings: Settings,
    events: Path | None,
    items: Path | None,
    *,
    from_kafka: bool,
    hold_out: str | None,
) -> TrainingSource:
    if from_kafka and (events is not None or items is not None):
        raise SettingsError("--from-kafka takes the place of --events and --items; drop one")
    if not from_kafka and (events is None or items is None):
        raise SettingsError(
            "there is nothing to train on: give both --events and --items, or --from-kafka"
        )

    from worker.scenarios import ScenarioChoice
    from worker.training.sources import FileSource, TopicSource

    chosen = ScenarioChoice.parse_values(hold_out, "--hold-out") if hold_out is not None else None
    if events is None or items is None:
        if chosen is not None:
            raise SettingsError("--hold-out needs the columns of files: --events and --items")
        return TopicSource(settings)
    return FileSource(events, items, chosen)
