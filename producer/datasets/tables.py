"""Open a file of rows lazily: CSV, Parquet or JSON lines, plain or gzipped; every cell as text.

Reading every cell as text keeps ids as they stand ("007" stays "007") and makes a column's type
independent of its first rows; what a column means is for the format modules to say.
"""

from __future__ import annotations

import gzip
import io
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec
import polars as pl

from schemas.errors import DataError

ROW = "_row"
"""Column of row numbers in the file's order, from 0."""

_GZIP_MAGIC = b"\x1f\x8b"
_PARQUET_MAGIC = b"PAR1"
_JSON_LINES_SEEN = 1000
_DOUBLE_COLON = "::"


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what goes wrong while `path` is read into a DataError that names the file."""
    try:
        yield
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path} cannot be read: {_first_lines(error)}") from error
    except (OSError, EOFError, gzip.BadGzipFile) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def open_table(path: Path, encoding: str = "utf8") -> pl.LazyFrame:
    """Return the rows of a file as text columns plus their number in the column `ROW`.

    What the file is, is told by its content: Parquet and gzip by their first bytes, JSON lines by
    an opening brace, MovieLens' `.dat` (no header, `::` between cells; columns are then called
    column_1, column_2, …) by its suffix; else it is CSV with a header. Lists and objects in JSON
    become their JSON text; Parquet columns keep their types, since those are not guesses.

    Args:
        path: the file.
        encoding: of a text file; anything but utf8 is decoded in memory, whole.

    Raises:
        DataError: the file is missing, empty or not what it looks like.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist" if not path.exists() else f"{path} is no file")
    with readable(path):
        start = _first_bytes(path)
        if not start.strip():
            raise DataError(f"{path} is empty")
        if start.startswith(_PARQUET_MAGIC):
            return _without_row_column(pl.scan_parquet(path), path).with_row_index(ROW)
        if ".dat" in path.suffixes:
            return _scan_double_colon(path)
        source = path if encoding == "utf8" else io.BytesIO(_decoded(path, encoding).encode())
        if start.lstrip()[:1] == b"{":
            return pl.scan_ndjson(source, schema=_json_schema(path), row_index_name=ROW)
        return pl.scan_csv(source, infer_schema=False, row_index_name=ROW)


def columns_of(frame: pl.LazyFrame, path: Path) -> list[str]:
    """Return the names of a file's columns, the row number not among them."""
    with readable(path):
        return [name for name in frame.collect_schema().names() if name != ROW]


def batches(frame: pl.LazyFrame, path: Path, rows: int = 50_000) -> Iterator[pl.DataFrame]:
    """Evaluate a frame made from `path` piece by piece, in order.

    Raises:
        DataError: the file turns out to be damaged.
    """
    with readable(path):
        pieces = iter(frame.collect_batches(chunk_size=rows, maintain_order=True))
    while True:
        with readable(path):
            piece = next(pieces, None)
        if piece is None:
            return
        yield piece


def _open_bytes(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        zipped = file.read(2) == _GZIP_MAGIC
    return gzip.open(path, "rb") if zipped else path.open("rb")  # type: ignore[return-value]


def _first_bytes(path: Path) -> bytes:
    with _open_bytes(path) as file:
        return file.read(4096).removeprefix(b"\xef\xbb\xbf")


def _decoded(path: Path, encoding: str) -> str:
    with _open_bytes(path) as file:
        content = file.read()
    try:
        return content.decode(encoding)
    except LookupError:
        raise DataError(f"encoding {encoding!r} is unknown; use utf8, latin-1, cp1252, …") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not {encoding}: {error}") from error


def _without_row_column(frame: pl.LazyFrame, path: Path) -> pl.LazyFrame:
    if ROW in frame.collect_schema().names():
        raise DataError(f"{path} has a column {ROW}, a name used for row numbers; rename it")
    return frame


def _json_schema(path: Path) -> dict[str, pl.DataType | type[pl.DataType]]:
    """Return the keys that the first lines have, in order of first appearance, all as text."""
    keys: dict[str, None] = {}
    with _open_bytes(path) as file:
        for number, line in enumerate(itertools.islice(file, _JSON_LINES_SEEN), start=1):
            if not line.strip():
                continue
            try:
                row = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
            except msgspec.DecodeError as error:
                raise DataError(
                    f"{path} line {number} is no JSON object ({error}); expected JSON lines, "
                    "one object a line"
                ) from None
            keys.update(dict.fromkeys(row))
    return dict.fromkeys(keys, pl.String)


def _scan_double_colon(path: Path) -> pl.LazyFrame:
    """Read MovieLens' `.dat`, in memory. Some of those files are UTF-8, older ones Latin-1."""
    with _open_bytes(path) as file:
        content = file.read()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    lines = [line.split(_DOUBLE_COLON) for line in text.splitlines() if line]
    width = len(lines[0])
    for number, cells in enumerate(lines, start=1):
        if len(cells) != width:
            raise DataError(
                f"{path} line {number} has {len(cells)} cells, the first line {width}; "
                f"a .dat file has `{_DOUBLE_COLON}` between its cells"
            )
    names = [f"column_{position}" for position in range(1, width + 1)]
    frame = pl.DataFrame(lines, schema=dict.fromkeys(names, pl.String), orient="row")
    return frame.lazy().with_row_index(ROW)


def _first_lines(error: Exception) -> str:
    """Return what polars says went wrong, without its pages of advice on polars' own options."""
    text = str(error)
    for advice in ("\n\nYou might want to try", "\n\nConsider setting", "\n\nThis error occurred"):
        text = text.partition(advice)[0]
    detail = str(error).partition("Original error: ")[2].strip("`. \n")
    line = " ".join((detail or text).split())[:400]
    return f"{line}; name the file's encoding, such as latin-1" if "utf-8" in line else line
