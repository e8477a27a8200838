"""`innerloop schemas` and `innerloop settings`: what describes the messages and the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CheckOption = Annotated[
    bool, typer.Option("--check", help="Write nothing; end with status 1 if anything differs.")
]


def write_schemas(
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder to write into; schemas/files in a checkout.",
            file_okay=False,
        ),
    ],
    *,
    check: CheckOption = False,
) -> None:
    """Write what describes the messages: JSON Schema, Avro (.avsc) and an AsyncAPI 3 document.

    All of it is generated from the message types. Register the Avro schemas before a rollout where
    `wire.auto_register` is off; give subscribers the JSON Schemas or the AsyncAPI document.
    """
    from schemas.documents import differences, write_documents

    if not check:
        for path in write_documents(out):
            typer.echo(path)
        return
    found = differences(out)
    for line in found:
        typer.echo(line)
    if found:
        typer.echo(f"run `innerloop schemas --out {out}` to bring it up to date", err=True)
        raise typer.Exit(1)


def write_settings(
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="File to write, else standard output.", dir_okay=False
        ),
    ] = None,
    check: CheckOption = False,
) -> None:
    """Write the reference of all settings, in Markdown: names, variables, defaults, meaning."""
    from schemas.documents.configuration import configuration_document

    document = configuration_document()
    if out is None:
        if check:
            raise typer.BadParameter("--check compares a file; name it with --out")
        typer.echo(document, nl=False)
        return
    if not check:
        out.write_text(document, encoding="utf-8")
        typer.echo(out)
        return
    if not out.is_file() or out.read_text(encoding="utf-8") != document:
        typer.echo(f"run `innerloop settings --out {out}` to bring it up to date", err=True)
        raise typer.Exit(1)
