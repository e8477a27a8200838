"""Whether a bundle is one that this worker's settings let it serve."""

from __future__ import annotations

from pathlib import Path

from schemas.errors import BundleError
from schemas.settings import WorkerSettings
from worker.files import sha256_of
from worker.model.bundle import MANIFEST
from worker.model.signature import check_signature


def check_trust(folder: Path, settings: WorkerSettings) -> str | None:
    """Check the pinned digest and the signature of a bundle, where settings ask for them.

    Args:
        folder: of the bundle; worker.bundle_digest is about the one that worker.bundle names.
        settings: worker.bundle, worker.bundle_digest and worker.trusted_keys.

    Returns:
        The trusted key that signed it; None if none has to.

    Raises:
        BundleError: it is another bundle, or not signed by any of the keys.
    """
    pinned = settings.bundle_digest
    if pinned is not None and settings.bundle is not None and _same(folder, settings.bundle):
        manifest = folder / MANIFEST
        if not manifest.is_file():
            raise BundleError(f"{folder} is not a bundle: it has no {MANIFEST}")
        digest = sha256_of(manifest)
        if digest != pinned:
            raise BundleError(
                f"{manifest} has the sha256 {digest}, and the setting worker.bundle_digest is "
                f"{pinned}: the bundle is refused"
            )
    return check_signature(folder, settings.trusted_keys) if settings.trusted_keys else None


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()
