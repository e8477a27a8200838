"""`innerloop bench` says what there is."""

from typer.testing import CliRunner

from worker.cli.app import app


def test_the_help_names_every_benchmark():
    result = CliRunner().invoke(app, ["bench", "--help"])
    for name in ("kernel", "ranking", "pipeline", "floor", "growth"):
        assert name in result.output
