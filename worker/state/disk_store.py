"""Users who are not in the arena, on disk: an LMDB environment, of one worker at a time.

LMDB and not RocksDB or SQLite: a third of the one's CPU time per user brought back, a fifteenth of
the other's (docs/decisions/0012-users-beyond-memory.md).
"""

from __future__ import annotations

import fcntl
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
from worker.state.sealing import PLAIN, Entries, EntrySealing, Sealing
from worker.state.snapshot import Stamp, take_notes, write_notes

_LOG = logging.getLogger(__name__)

_ENVIRONMENT = "users.lmdb"
_SNAPSHOT = "snapshot.lmdb"
_DATA = "data.mdb"
_LOCK = "worker.lock"
_MAP_BYTES = 1 << 40
"""Most that the store may come to hold: address space, neither disk nor memory."""
_MOST_PARTITIONS = 10_000
_USERS_AT_ONCE = 10_000


class DiskStore:
    """`StateStore` in a folder, which is emptied at the start and at the end.

    Nothing is synced: what a crash leaves behind is not used, for the changelog has it all. Only
    what `keep` was called for outlasts the store, and is offered to the next one as `kept`.

    Args:
        folder: made if it is not there; used by no other worker.
        warm: whether to offer what an earlier one kept.
        sealing: how users are written there.

    Raises:
        StateStoreError: it cannot be used, or another worker uses it.
    """

    def __init__(self, folder: Path, *, warm: bool = False, sealing: Sealing = PLAIN) -> None:
        self._folder = folder
        self._sealing = sealing
        self._path = folder / _ENVIRONMENT
        self._kept: Stamp | None = None
        self._to_keep: Stamp | None = None
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _locked(folder / _LOCK)
            self._environment, self._entries = self._open(warm=warm)
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
        database, key = self._database(partition), self._entries.keys(partition)
        entries = []
        for user_id, value in users.items():
            user = user_id.encode()
            entries.append((key(user), _entry(user, value)))
        entries.sort()
        sealed = self._entries.seal(partition, entries)
        with self._transaction() as transaction:
            transaction.cursor(database).putmulti(sealed)

    def take(self, partition: int, user_ids: Iterable[str]) -> dict[str, bytes]:
        """Return and forget these; see `StateStore`."""
        if partition not in self._databases:
            return {}
        database, key = self._databases[partition], self._entries.keys(partition)
        found = []
        with self._transaction() as transaction:
            for user_id in user_ids:
                at = key(user_id.encode())
                value = transaction.pop(at, db=database)
                if value is not None:
                    found.append((at, bytes(value)))
        return dict(_user(entry) for _, entry in self._entries.unseal(partition, found))

    def scan(self, partition: int, most: int) -> list[tuple[str, bytes]]:
        """Return the next users; see `StateStore`."""
        if partition not in self._databases:
            return []
        with self._transaction(write=False) as transaction:
            cursor = transaction.cursor(self._databases[partition])
            # The smallest key that comes after the last one of the time before.
            if not cursor.set_range(self._scanned.pop(partition, b"") + b"\0"):
                return []
            found = _some(iter(cursor), most)
        if len(found) == most:
            self._scanned[partition] = found[-1][0]
        return [_user(entry) for _, entry in self._entries.unseal(partition, found)]

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
            except (OSError, lmdb.Error, StateStoreError) as error:
                _LOG.warning("no snapshot of users is kept in %s: %s", self._folder, error)
                shutil.rmtree(self._folder / _SNAPSHOT, ignore_errors=True)
            self._to_keep = None
        self._environment.close()
        shutil.rmtree(self._path, ignore_errors=True)
        self._lock.close()

    def _open(self, *, warm: bool) -> tuple[lmdb.Environment, EntrySealing]:
        """Open the snapshot if there is one to be used, or else make an empty environment."""
        shutil.rmtree(self._path, ignore_errors=True)
        snapshot = self._folder / _SNAPSHOT
        notes = take_notes(self._folder, snapshot / _DATA, self._sealing)
        if notes is not None and warm:
            snapshot.rename(self._path)
            try:
                environment = _environment(self._path)
            except lmdb.Error as error:  # such as one of another version of LMDB
                _LOG.warning("the snapshot of users in %s is not used: %s", self._folder, error)
                shutil.rmtree(self._path, ignore_errors=True)
            else:
                self._kept = notes.stamp
                return environment, self._sealing.entries(notes.seal)
        shutil.rmtree(snapshot, ignore_errors=True)
        return _environment(self._path), self._sealing.entries()

    def _write_snapshot(self, stamp: Stamp) -> None:
        """Write the users anew: of those erased no byte is left behind, and pages are filled up."""
        path = self._folder / _SNAPSHOT
        shutil.rmtree(path, ignore_errors=True)
        entries, seal = self._sealing.for_snapshot()
        in_order = entries.order == self._entries.order
        with _environment(path) as snapshot:
            for partition in stamp.next_offsets:
                target = snapshot.open_db(_name(partition))
                if partition not in self._databases:
                    continue
                with self._environment.begin() as reading:
                    found = iter(reading.cursor(self._databases[partition]))
                    while some := _some(found, _USERS_AT_ONCE):
                        renewed = self._renewed(partition, some, entries)
                        with snapshot.begin(write=True) as writing:
                            writing.cursor(target).putmulti(renewed, append=in_order)
        write_notes(self._folder, path / _DATA, stamp, self._sealing, seal)

    def _renewed(self, partition: int, some: Entries, target: EntrySealing) -> Entries:
        """Return entries as a snapshot is to hold them."""
        whole = self._entries.unseal(partition, some)
        renewed = [(key, _without_list(entry)) for key, entry in whole]
        if target.order != self._entries.order:
            key_of = target.keys(partition)
            renewed = [(key_of(_id(entry)), entry) for _, entry in renewed]
        return target.seal(partition, renewed)

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


def _some(entries: Iterator[tuple[bytes | memoryview, bytes | memoryview]], most: int) -> Entries:
    """Take the next few; `iter` of a cursor begins where it is, so that one is to be kept."""
    return [(bytes(key), bytes(value)) for key, value in islice(entries, most)]


def _entry(user: bytes, value: bytes) -> bytes:
    return len(user).to_bytes(2, "little") + user + value


def _user(entry: bytes) -> tuple[str, bytes]:
    end = 2 + int.from_bytes(entry[:2], "little")
    return entry[2:end].decode(), entry[end:]


def _id(entry: bytes) -> bytes:
    return entry[2 : 2 + int.from_bytes(entry[:2], "little")]


def _without_list(entry: bytes) -> bytes:
    begin = 2 + int.from_bytes(entry[:2], "little")
    return entry[:begin] + without_list(entry[begin:])


def _locked(path: Path) -> IO[bytes]:
    file = path.open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise OSError("another worker uses it; give each a folder of its own") from None
    return file
