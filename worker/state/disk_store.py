"""Users who are not in the arena, on disk: an LMDB environment, of one worker at a time.

LMDB and not RocksDB or SQLite: a third of the one's CPU time per user brought back, a fifteenth of
the other's (docs/decisions/0012-users-beyond-memory.md).
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO

import lmdb
from msgspec.structs import replace

from schemas.errors import StateStoreError
from worker.state.entry import without_list
from worker.state.snapshot import Stamp, take_notes, write_notes

_LOG = logging.getLogger(__name__)

_ENVIRONMENT = "users.lmdb"
_SNAPSHOT = "snapshot.lmdb"
_DATA = "data.mdb"
_LOCK = "worker.lock"
_MAP_BYTES = 1 << 40
"""Most that the store may come to hold: address space, neither disk nor memory."""
_MOST_PARTITIONS = 10_000
_LONGEST_ID = 500
"""Bytes; LMDB takes keys of up to 511."""
_USERS_AT_ONCE = 10_000


class DiskStore:
    """`StateStore` in a folder, which is emptied at the start and at the end.

    Nothing is synced: what a crash leaves behind is not used, for the changelog has it all. Only
    what `keep` was called for outlasts the store, and is offered to the next one as `kept`.

    Args:
        folder: made if it is not there; used by no other worker.
        warm: whether to offer what an earlier one kept.

    Raises:
        StateStoreError: it cannot be used, or another worker uses it.
    """

    def __init__(self, folder: Path, *, warm: bool = False) -> None:
        self._folder = folder
        self._path = folder / _ENVIRONMENT
        self._kept: Stamp | None = None
        self._to_keep: Stamp | None = None
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _locked(folder / _LOCK)
            self._environment = self._open(warm=warm)
        except (OSError, lmdb.Error) as error:
            raise StateStoreError(f"worker.state_folder {folder} cannot be used: {error}") from None
        self._databases: dict[int, lmdb._Database] = {}
        self._scanned: dict[int, bytes] = {}

    @property
    def kept(self) -> Stamp | None:
        """What an earlier store kept, less what was adopted or discarded since; None if nothing."""
        return self._kept

    def adopt(self, partition: int) -> int:
        """Go on with the users of a partition that an earlier store kept; return how many."""
        self._left_behind(partition)
        try:
            self._databases[partition] = self._environment.open_db(_name(partition), create=False)
        except lmdb.Error as error:
            raise StateStoreError(f"the users in {self._path}: {error}") from error
        return self.count(partition)

    def discard(self, partition: int) -> None:
        """Remove the users of a partition that an earlier store kept."""
        self.adopt(partition)
        self.drop(partition)

    def keep(self, stamp: Stamp) -> None:
        """Have `close` keep what there is then of the partitions that it names."""
        self._to_keep = stamp

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
        """Remove what is stored, but for what is to be kept, and let others use the folder."""
        if self._to_keep is not None:
            try:
                self._write_snapshot(self._to_keep)
            except (OSError, lmdb.Error) as error:
                _LOG.warning("no snapshot of users is kept in %s: %s", self._folder, error)
                shutil.rmtree(self._folder / _SNAPSHOT, ignore_errors=True)
            self._to_keep = None
        self._environment.close()
        shutil.rmtree(self._path, ignore_errors=True)
        self._lock.close()

    def _open(self, *, warm: bool) -> lmdb.Environment:
        """Open the snapshot if there is one to be used, or else make an empty environment."""
        shutil.rmtree(self._path, ignore_errors=True)
        snapshot = self._folder / _SNAPSHOT
        stamp = take_notes(self._folder, snapshot / _DATA)
        if stamp is not None and warm:
            snapshot.rename(self._path)
            try:
                environment = _environment(self._path)
            except lmdb.Error as error:  # such as one of another version of LMDB
                _LOG.warning("the snapshot of users in %s is not used: %s", self._folder, error)
                shutil.rmtree(self._path, ignore_errors=True)
            else:
                self._kept = stamp
                return environment
        shutil.rmtree(snapshot, ignore_errors=True)
        return _environment(self._path)

    def _write_snapshot(self, stamp: Stamp) -> None:
        """Write the users anew: of those erased no byte is left behind, and pages are filled up."""
        path = self._folder / _SNAPSHOT
        shutil.rmtree(path, ignore_errors=True)
        with _environment(path) as snapshot:
            for partition in stamp.next_offsets:
                target = snapshot.open_db(_name(partition))
                if partition not in self._databases:
                    continue
                with self._environment.begin() as reading:
                    entries = iter(reading.cursor(self._databases[partition]))
                    while some := list(islice(entries, _USERS_AT_ONCE)):
                        with snapshot.begin(write=True) as writing:
                            renewed = [(key, _without_list(bytes(entry))) for key, entry in some]
                            writing.cursor(target).putmulti(renewed, append=True)
        write_notes(self._folder, path / _DATA, stamp)

    def _left_behind(self, partition: int) -> None:
        assert self._kept is not None, "nothing is kept"
        rest = {n: at for n, at in self._kept.next_offsets.items() if n != partition}
        self._kept = replace(self._kept, next_offsets=rest) if rest else None

    def _database(self, partition: int) -> lmdb._Database:
        if partition not in self._databases:
            self._databases[partition] = self._environment.open_db(_name(partition))
        return self._databases[partition]

    @contextmanager
    def _transaction(self, *, write: bool = True) -> Iterator[lmdb.Transaction]:
        try:
            with self._environment.begin(write=write) as transaction:
                yield transaction
        except lmdb.Error as error:
            raise StateStoreError(f"the users in {self._path}: {error}") from error


def _environment(path: Path) -> lmdb.Environment:
    path.mkdir(mode=0o700, exist_ok=True)
    return lmdb.open(
        str(path),
        map_size=_MAP_BYTES,
        max_dbs=_MOST_PARTITIONS,
        mode=0o600,
        sync=False,
        metasync=False,
        lock=False,  # one process, one thread, and the folder's own lock
    )


def _name(partition: int) -> bytes:
    return str(partition).encode()


def _without_list(entry: bytes) -> bytes:
    begin = 2 + int.from_bytes(entry[:2], "little")
    return entry[:begin] + without_list(entry[begin:])


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
