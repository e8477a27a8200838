"""`innerloop report`: reports of `innerloop evaluate`, looked at again and put together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

report_app = typer.Typer(
    help="Show, draw and combine the reports of `innerloop evaluate`.", no_args_is_help=True
)

_ReportArgument = Annotated[Path, typer.Argument(metavar="REPORT.json", show_default=False)]


@report_app.command()
def show(report: _ReportArgument) -> None:
    """Print a report's tables."""
    from rich.console import Console

    from worker.evaluation.report import read_json
    from worker.evaluation.tables import tables

    Console().print(tables(read_json(report)))


@report_app.command()
def plots(
    report: _ReportArgument,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the pictures go.")],
) -> None:
    """Draw a report's plots (needs the extra `plots`)."""
    from worker.evaluation.plots import draw
    from worker.evaluation.report import read_json

    for path in draw(read_json(report), out):
        typer.echo(f"wrote {path}")


@report_app.command()
def summary(
    reports: Annotated[
        list[Path], typer.Argument(metavar="REPORT.json REPORT.json…", show_default=False)
    ],
    json_out: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Also write it as JSON.")
    ] = None,
) -> None:
    """Combine reports of one protocol, such as of three seeds: mean and spread, in Markdown."""
    import msgspec

    from worker.evaluation.markdown import summary_markdown
    from worker.evaluation.report import read_json
    from worker.evaluation.seeds import combine

    combined = combine({str(path): read_json(path) for path in reports})
    typer.echo(summary_markdown(combined), nl=False)
    if json_out is not None:
        json_out.parent.mkdir(parents=True, exist_ok=True)
        json_out.write_bytes(msgspec.json.format(msgspec.json.encode(combined), indent=2) + b"\n")
