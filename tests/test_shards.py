"""Which files a path stands for, and the digest of all of them."""

import hashlib
import subprocess
from pathlib import Path

import pytest

from schemas.errors import DataError
from worker.files import sha256_of
from worker.shards import sha256_of_shards, shards_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        *("b.parquet", "a.snappy.parquet", "day=2/part-0.parquet", "day=10/part-0.parquet"),
        *("_temporary/c.parquet", ".hidden.parquet", "_SUCCESS", "notes.txt", "x.csv.gz"),
    ):
        path = tmp_path / "shards" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "shards"


def named(paths: list[Path], folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in paths]


def test_a_file_stands_for_itself_whatever_its_name(tmp_path: Path) -> None:
    file = tmp_path / "day[1].csv"
    file.touch()
    assert shards_of(file) == [file]


def test_a_folder_stands_for_its_parquet_files_by_name(folder: Path) -> None:
    assert named(shards_of(folder), folder) == [
        "a.snappy.parquet",
        "b.parquet",
        "day=10/part-0.parquet",
        "day=2/part-0.parquet",
    ]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.parquet", ["a.snappy.parquet", "b.parquet"]),
        ("day=?/*", ["day=2/part-0.parquet"]),
        ("day=*", ["day=10/part-0.parquet", "day=2/part-0.parquet"]),
        ("[ax].*", ["a.snappy.parquet", "x.csv.gz"]),
        (
            "**/*.parquet",
            [
                *("_temporary/c.parquet", "a.snappy.parquet", "b.parquet"),
                *("day=10/part-0.parquet", "day=2/part-0.parquet"),
            ],
        ),
    ],
)
def test_a_pattern_stands_for_what_it_matches(
    folder: Path, pattern: str, expected: list[str]
) -> None:
    assert named(shards_of(folder / pattern), folder) == expected


def test_where_there_is_nothing_the_error_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"the folder .*empty holds no \.parquet file"):
        shards_of(tmp_path / "empty")
    with pytest.raises(DataError, match=r"no file matches the pattern .*day-\*\.parquet"):
        shards_of(tmp_path / "day-*.parquet")
    with pytest.raises(DataError, match=r"none\.parquet does not exist"):
        shards_of(tmp_path / "none.parquet")


def test_the_digest_is_of_every_file_in_order_and_not_of_their_names(folder: Path) -> None:
    shards = shards_of(folder)
    assert sha256_of_shards(shards[:1]) == sha256_of(shards[0])
    digest = sha256_of_shards(shards)
    lines = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}\n" for path in shards)
    assert digest == hashlib.sha256(lines.encode()).hexdigest()
    assert sha256_of_shards(shards[::-1]) != digest
    shards[1].rename(folder / "c.parquet")
    assert sha256_of_shards(shards_of(folder)) == digest
    shards[3].write_text("changed")
    assert sha256_of_shards(shards_of(folder)) != digest


def test_the_digest_is_what_coreutils_say(folder: Path) -> None:
    command = "sha256sum a.snappy.parquet b.parquet | cut -c1-64 | sha256sum | cut -c1-64"
    said = subprocess.run(
        ["sh", "-c", command], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert sha256_of_shards(shards_of(folder / "*.parquet")) == said
