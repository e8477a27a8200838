"""Users who are not in the arena, on disk: an LMDB environment, of one worker at a time.

LMDB and not RocksDB or SQLite: a third of the one's CPU time per user brought back, a fifteenth of
the other's (docs/decisions/0012-users-beyond-memory.md).
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import lmdb

from schemas.errors import StateStoreError

_ENVIRONMENT = "users.lmdb"
_LOCK = "worker.lock"
_MAP_BYTES = 1 << 40
"""Most that the store may come to hold: address space, neither disk nor memory."""
_MOST_PARTITIONS = 10_000
_LONGEST_ID = 500
"""Bytes; LMDB takes keys of up to 511."""


class DiskStore:
    """`StateStore` in a folder, which is emptied at the start and at the end.

    Nothing is synced: what a crash leaves behind is not used, for the changelog has it all.

    Args:
        folder: made if it is not there; used by no other worker.

    Raises:
        StateStoreError: it cannot be used, or another worker uses it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _ENVIRONMENT
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(folder / _LOCK)
            shutil.rmtree(self._path, ignore_errors=True)
            self._environment = lmdb.open(
                str(self._path),
                map_size=_MAP_BYTES,
                max_dbs=_MOST_PARTITIONS,
                sync=False,
                metasync=False,
                lock=False,  # one process, one thread, and the folder's own lock
            )
        except (OSError, lmdb.Error) as error:
            raise StateStoreError(f"worker.state_folder {folder} cannot be used: {error}") from None
        self._databases: dict[int, lmdb._Database] = {}
        self._scanned: dict[int, bytes] = {}

    def put(self, partition: int, users: Mapping[str, bytes]) -> None:
        """Keep these; see `StateStore`.

        Raises:
            StateStoreError: they cannot be written, such as on a full disk.
        """
        database = self._database(partition)
        entries = sorted((_key(user_id), _entry(user_id, v)) for user_id, v in users.items())
        with self._transaction() as transaction:
            transaction.cursor(database).putmulti(entries)

    def take(self, partition: int, user_ids: Iterable[str]) -> dict[str, bytes]:
        """Return and forget these; see `StateStore`."""
        if partition not in self._databases:
            return {}
        database = self._databases[partition]
        with self._transaction() as transaction:
            found = [transaction.pop(_key(user_id), db=database) for user_id in user_ids]
        return dict(_user(bytes(entry)) for entry in found if entry is not None)

    def scan(self, partition: int, most: int) -> list[tuple[str, bytes]]:
        """Return the next users; see `StateStore`."""
        if partition not in self._databases:
            return []
        with self._transaction(write=False) as transaction:
            cursor = transaction.cursor(self._databases[partition])
            # The smallest key that comes after the last one of the time before.
            if not cursor.set_range(self._scanned.pop(partition, b"") + b"\0"):
                return []
            found = []
            for key, entry in cursor:
                found.append(_user(bytes(entry)))
                if len(found) == most:
                    self._scanned[partition] = bytes(key)
                    break
        return found

    def drop(self, partition: int) -> None:
        """Forget a partition's users."""
        database = self._databases.pop(partition, None)
        self._scanned.pop(partition, None)
        if database is not None:
            with self._transaction() as transaction:
                transaction.drop(database)

    def count(self, partition: int) -> int:
        """Return how many users of a partition there are."""
        if partition not in self._databases:
            return 0
        with self._transaction(write=False) as transaction:
            return int(transaction.stat(self._databases[partition])["entries"])

    @property
    def partitions(self) -> list[int]:
        """Partitions that hold, or held, users."""
        return list(self._databases)

    def close(self) -> None:
        """Remove what is stored, and let others use the folder."""
        self._environment.close()
        shutil.rmtree(self._path, ignore_errors=True)
        self._lock.close()

    def _database(self, partition: int) -> lmdb._Database:
        if partition not in self._databases:
            self._databases[partition] = self._environment.open_db(str(partition).encode())
        return self._databases[partition]

    @contextmanager
    def _transaction(self, *, write: bool = True) -> Iterator[lmdb.Transaction]:
        try:
            with self._environment.begin(write=write) as transaction:
                yield transaction
        except lmdb.Error as error:
            raise StateStoreError(f"the users in {self._path}: {error}") from error


def _key(user_id: str) -> bytes:
    key = user_id.encode()
    # No UTF-8 text begins with this byte.
    return key if len(key) <= _LONGEST_ID else b"\xff" + hashlib.sha256(key).digest()


def _entry(user_id: str, value: bytes) -> bytes:
    key = user_id.encode()
    return len(key).to_bytes(2, "little") + key + value


def _user(entry: bytes) -> tuple[str, bytes]:
    end = 2 + int.from_bytes(entry[:2], "little")
    return entry[2:end].decode(), entry[end:]


def _locked(path: Path) -> IO[bytes]:
    file = path.open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise OSError("another worker uses it; give each a folder of its own") from None
    return file
