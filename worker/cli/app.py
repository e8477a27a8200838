"""The root of the command line: joins the sub-commands and turns known errors into one line."""

from __future__ import annotations

import os
import sys

import typer

from schemas.errors import InnerloopError
from worker.cli.bench import bench_app
from worker.cli.broker import broker_app
from worker.cli.collect import collect
from worker.cli.dataset import dataset_app
from worker.cli.demo import demo
from worker.cli.dlq import dlq_app
from worker.cli.evaluate import evaluate
from worker.cli.export_encoder import export_encoder
from worker.cli.gateway import gateway_app
from worker.cli.insights import insights_app
from worker.cli.models import models_app
from worker.cli.observe import observe
from worker.cli.plan import plan
from worker.cli.privacy import privacy_app
from worker.cli.replay import replay
from worker.cli.report import report_app
from worker.cli.run import run_worker
from worker.cli.schemas import write_schemas, write_settings
from worker.cli.sink import sink_app
from worker.cli.storefront import storefront
from worker.cli.tail import tail
from worker.cli.topics import topics_app
from worker.cli.train import train
from worker.cli.tune_encoder import tune_encoder

app = typer.Typer(
    name="innerloop",
    help="Adapt a recommender to a new user while that user is still browsing.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # paragraphs of docstrings are wrapped to the terminal
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo)
app.command()(observe)
app.command()(train)
app.command()(evaluate)
app.command("worker")(run_worker)
app.command()(replay)
app.command()(collect)
app.command()(storefront)
app.command()(tail)
app.command()(export_encoder)
app.command()(tune_encoder)
app.command()(plan)
app.command("schemas")(write_schemas)
app.command("settings")(write_settings)
app.add_typer(report_app, name="report")
app.add_typer(dataset_app, name="dataset")
app.add_typer(topics_app, name="topics")
app.add_typer(models_app, name="models")
app.add_typer(dlq_app, name="dlq")
app.add_typer(privacy_app, name="privacy")
app.add_typer(insights_app, name="insights")
app.add_typer(gateway_app, name="gateway")
app.add_typer(sink_app, name="sink")
app.add_typer(broker_app, name="broker")
app.add_typer(bench_app, name="bench")


def main() -> None:
    """Run the command line."""
    # Must be set before torch loads OpenMP. Threads that spin while they wait for each other starve
    # whatever shares their cores, a broker for instance: docs/decisions/0003-passive-openmp.md.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except InnerloopError as error:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        sys.exit(2)
