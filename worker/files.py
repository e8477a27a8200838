"""Files that others must be able to trust: written whole or not at all, named by their digest."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import InnerloopError


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, content: bytes) -> None:
    """Write or replace a file: whoever reads it, also after a power cut, finds all of it or none.

    Raises:
        OSError: it cannot be written.
    """
    scratch = path.with_name(f"{path.name}.new")
    with scratch.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


@contextmanager
def new_folder(out: Path, *, marker: str, error: type[InnerloopError]) -> Iterator[Path]:
    """Give a folder to write into, beside `out`; it becomes `out` only if the block succeeds.

    Args:
        out: the folder to appear. One that is empty or holds the file `marker` is replaced.
        marker: a file that tells an earlier folder of the same kind.
        error: the exception to raise.

    Raises:
        InnerloopError: of the class `error`: `out` is something else, which must not be replaced,
            or the place cannot be written to.
    """
    if out.exists() and not (out / marker).is_file() and (out.is_file() or any(out.iterdir())):
        raise error(f"{out} exists and has no {marker}, so it is not replaced; name another folder")
    parent = out.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=parent)
    except OSError as cause:
        raise error(f"{out} cannot be written: {cause}") from cause
    with scratch as name:
        folder = Path(name) / "new"
        folder.mkdir()
        yield folder
        _put_in_place(folder, out, Path(name) / "old")


def _put_in_place(folder: Path, out: Path, old: Path) -> None:
    if not out.exists():
        folder.rename(out)
        return
    out.rename(old)
    try:
        folder.rename(out)
    except OSError:
        old.rename(out)
        raise
