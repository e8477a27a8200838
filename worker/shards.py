"""Data in one file or in many: which files a path stands for, and the digest of all of them."""

from __future__ import annotations

import glob
import hashlib
from pathlib import Path

from schemas.errors import DataError
from worker.files import sha256_of

_PATTERN_CHARACTERS = frozenset("*?[")


def shards_of(path: Path) -> list[Path]:
    """Return the files that a path stands for, sorted by name.

    Args:
        path: a file; a folder, which stands for the `.parquet` files at any depth in it, but for
            those whose name or folder begins with a dot or an underscore, as what Spark keeps
            beside the data does; or a pattern such as `day-*/part-*.parquet`, in which `**` stands
            for folders at any depth.

    Raises:
        DataError: there is no such file.
    """
    if path.is_file():
        return [path]
    if path.is_dir():
        return _parquet_files(path)
    if not _PATTERN_CHARACTERS & set(str(path)):
        raise DataError(f"{path} does not exist")
    # `Path.glob` takes no absolute pattern.
    found = sorted(Path(name) for name in glob.glob(str(path), recursive=True))  # noqa: PTH207
    files = {file: None for match in found for file in _files(match)}
    if not files:
        raise DataError(f"no file matches the pattern {path}")
    return list(files)


def sha256_of_shards(shards: list[Path]) -> str:
    """Return the sha256 of one file, or of what is in several, in hexadecimal.

    Of several it is the sha256 of their sha256, one a line, in order: what
    `sha256sum FILES | cut -c1-64 | sha256sum` says.
    """
    digests = [sha256_of(shard) for shard in shards]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(f"{digest}\n" for digest in digests).encode()).hexdigest()


def _files(match: Path) -> list[Path]:
    return _parquet_files(match) if match.is_dir() else [match]


def _parquet_files(folder: Path) -> list[Path]:
    found = [path.relative_to(folder) for path in folder.rglob("*.parquet")]
    data = sorted(path for path in found if not any(part[0] in "._" for part in path.parts))
    files = [folder / path for path in data if (folder / path).is_file()]
    if not files:
        raise DataError(
            f"the folder {folder} holds no .parquet file; of other files give a pattern,"
            f" such as '{folder}/*.csv.gz'"
        )
    return files
