"""`innerloop train`: events and items files in, a model bundle out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.options import ConfigOption, settings_from

if TYPE_CHECKING:
    from worker.training.trainer import Epoch


def train(
    events: Annotated[
        Path,
        typer.Option(help="Events: user_id, item_id, event_type, timestamp (CSV or Parquet)."),
    ],
    items: Annotated[Path, typer.Option(help="Items: item_id, title and more (CSV or Parquet).")],
    out: Annotated[Path, typer.Option(help="Folder of the bundle to write.")],
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
        int | None, typer.Option(help="Most passes over the events (setting training.epochs).")
    ] = None,
    dim: Annotated[
        int | None, typer.Option(help="Width of the model (setting training.dim).")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    config: ConfigOption = None,
) -> None:
    """Meta-train a model on the users seen before a time cut, and write it as a bundle.

    Every other hyper-parameter is a setting of the section [training].
    """
    settings = settings_from(config, training={"epochs": epochs, "dim": dim})

    from rich.console import Console

    from worker.cli.progress import PhaseProgress
    from worker.training.bundle_writer import Progress, TrainingJob, train_bundle

    console = Console()
    job = TrainingJob(events, items, out, cut, seed, settings.training, encoder, device)
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
