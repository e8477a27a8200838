"""`innerloop models keygen`, `sign` and `verify`: whose bundles workers serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.options import ConfigOption, settings_from

FolderArgument = Annotated[Path, typer.Argument(help="A bundle.")]


def keygen(
    key: Annotated[Path, typer.Argument(help="File to be made, for the private key.")],
) -> None:
    """Make a key to sign bundles with, and print the public one for worker.trusted_keys.

    Keep the private key away from the workers.
    """
    from worker.model.signature import generate_key

    public = generate_key(key)
    typer.echo(f"the private key is in {key}; workers are to have:", err=True)
    typer.echo(public)


def sign(
    folder: FolderArgument,
    *,
    key: Annotated[Path, typer.Option(help="File with the private key.")],
) -> None:
    """Verify a bundle's files and sign it, beside whoever signed it before."""
    from worker.model.bundle import Bundle
    from worker.model.signature import fingerprint, read_private_key
    from worker.model.signature import sign as sign_bundle

    private = read_private_key(key)
    bundle = Bundle(folder)
    public = sign_bundle(folder, private)
    typer.echo(f"{bundle.manifest.version} is signed by {fingerprint(public)}")


def verify(
    folder: FolderArgument,
    *,
    trusted_key: Annotated[
        list[str] | None,
        typer.Option(
            help="Public key; may be given several times (setting worker.trusted_keys).",
            metavar="ed25519:…",
            show_default=False,
        ),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Check a bundle as a worker would: its files, the pinned digest, and who signed it."""
    from worker.files import sha256_of
    from worker.model.bundle import MANIFEST, Bundle
    from worker.model.signature import fingerprint
    from worker.rollout.trust import check_trust

    settings = settings_from(config, worker={"trusted_keys": trusted_key, "bundle": folder})
    key = check_trust(folder, settings.worker)
    version = Bundle(folder).manifest.version
    who = "nobody has to have signed it" if key is None else f"signed by {fingerprint(key)}"
    typer.echo(f"{version}: all files are as listed, {who}")
    typer.echo(f"worker.bundle_digest  {sha256_of(folder / MANIFEST)}")
