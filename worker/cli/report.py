"""`innerloop report`: reports of `innerloop evaluate`, looked at again and put together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

report_app = typer.Typer(
    help="Show, draw and combine the reports of `innerloop evaluate`; draw dashboards.",
    no_args_is_help=True,
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


@report_app.command()
def dashboards(
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the pictures go.")],
    prometheus: Annotated[
        str, typer.Option(metavar="URL", help="Who is asked.")
    ] = "http://127.0.0.1:9090",
    minutes: Annotated[
        float, typer.Option(min=0.5, max=44_640, help="How far back the pictures go.")
    ] = 60.0,
    scrape_seconds: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Between two scrapes of that Prometheus.")
    ] = 15.0,
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Grafana's JSON (default: deploy/grafana/dashboards of the repository).",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Draw Grafana's dashboards without a Grafana (needs the extra `plots`).

    The queries are those of the dashboards' JSON, and a Prometheus answers them; how it looks is
    this command's, not Grafana's.
    """
    import time

    from worker.observing.answers import Answers, span_until
    from worker.observing.config import DASHBOARDS
    from worker.observing.dashboard import files_in, read_dashboard, require_matplotlib

    require_matplotlib()
    from worker.observing.picture import draw_dashboard

    span, rate_interval_s = span_until(time.time(), 60 * minutes, scrape_seconds)
    for file in files_in(folder or DASHBOARDS):
        dashboard = read_dashboard(file)
        picture = draw_dashboard(dashboard, Answers(prometheus), span, rate_interval_s)
        path = out / f"{file.stem}.png"
        picture.save(path)
        typer.echo(f"wrote {path}")
        if picture.empty:
            typer.echo(f"  no data: {', '.join(picture.empty)}")
