"""`innerloop bench`: measure this machine, and innerloop on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.bench_compute import kernel, policy, ranking
from worker.cli.bench_stream import collector, engines, floor, growth, pipeline, soak

bench_app = typer.Typer(
    help="Measure this machine, and innerloop on it; docs/benchmarks says what each tells.",
    no_args_is_help=True,
)
for command in (floor, pipeline, ranking, policy, kernel, growth, soak, engines, collector):
    bench_app.command()(command)


@bench_app.command()
def plots(
    reports: Annotated[list[Path], typer.Argument(metavar="REPORT.json…", show_default=False)],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the pictures go.")],
) -> None:
    """Draw reports (needs the extra `plots`)."""
    from worker.bench.plots import draw
    from worker.bench.report import read_json

    for report in reports:
        for path in draw(read_json(report), out):
            typer.echo(f"wrote {path}")
