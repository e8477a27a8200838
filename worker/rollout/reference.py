"""Bundles by reference: a folder, and the digest of the manifest that it must hold."""

from __future__ import annotations

from pathlib import Path

from schemas.errors import BundleError
from schemas.model_rollout import BundleReference
from worker.files import sha256_of
from worker.model.bundle import MANIFEST, Bundle


def reference_of(folder: Path) -> BundleReference:
    """Return a reference to a bundle, all files of which are verified.

    Raises:
        BundleError: the folder is no bundle, or is incomplete or altered.
    """
    bundle = Bundle(folder)
    absolute = folder.resolve()
    return BundleReference(
        version=bundle.manifest.version,
        folder=str(absolute),
        manifest_sha256=sha256_of(absolute / MANIFEST),
    )


def check_manifest(reference: BundleReference) -> Path:
    """Return the folder of a bundle whose manifest is the one that was published.

    The files that the manifest lists are verified when the bundle is loaded.

    Raises:
        BundleError: the folder is not there, or holds another manifest.
    """
    folder = Path(reference.folder)
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise BundleError(
            f"{folder} has no {MANIFEST} on this machine; bundles must lie where all workers of "
            "the group can read them, under the same path"
        )
    digest = sha256_of(manifest)
    if digest != reference.manifest_sha256:
        raise BundleError(
            f"{manifest} has the sha256 {digest}, and {reference.manifest_sha256} was published: "
            "the folder holds another bundle by now; publish it anew, from a folder of its own"
        )
    return folder
