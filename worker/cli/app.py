"""The root of the command line: joins the sub-commands and turns known errors into one line."""

from __future__ import annotations

import sys

import typer

from schemas.errors import InnerloopError

app = typer.Typer(
    name="innerloop",
    help="Adapt a recommender to a new user while that user is still browsing.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line."""
    try:
        app()
    except InnerloopError as error:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        sys.exit(2)
