"""How the store on disk writes users: plain, as here, or sealed (`worker.state.sealed`)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

import msgspec
import xxhash

_LONGEST_ID = 500
"""Bytes; LMDB takes keys of up to 511."""

Entries = list[tuple[bytes, bytes]]
"""Keys of LMDB, and what is or is to be under them."""


class Seal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the notes on a snapshot say of how it is sealed; nothing of it is secret."""

    key: str
    """Name of the key; see `worker.state.sealed.MasterKey`."""
    salt: bytes
    """32 random bytes, of this snapshot alone."""


class Checksum(Protocol):
    """Tells one content from another, as those of hashlib do."""

    def update(self, data: bytes, /) -> object:
        """Take what comes next."""
        ...

    def hexdigest(self) -> str:
        """Return it, of all there was; once."""
        ...


class EntrySealing(Protocol):
    """Makes what an environment of LMDB holds of what the store has to say, and reads it."""

    @property
    def order(self) -> str:
        """Environments for which it is the same give a user the same key."""
        ...

    def keys(self, partition: int) -> Callable[[bytes], bytes]:
        """Return what makes keys of the ids of a partition's users, in UTF-8."""
        ...

    def seal(self, partition: int, entries: Entries) -> Entries:
        """Return entries as they are to be written."""
        ...

    def unseal(self, partition: int, entries: Entries) -> Entries:
        """Return entries as they were before they were sealed.

        Raises:
            StateStoreError: one is not what was written under that key.
        """
        ...


class Sealing(Protocol):
    """Gives each environment of LMDB its `EntrySealing`, and vouches for snapshots."""

    def entries(self, kept: Seal | None = None) -> EntrySealing:
        """Return that of an environment in use.

        Args:
            kept: of the snapshot that it was, without a `flaw`; None for an empty one.
        """
        ...

    def for_snapshot(self) -> tuple[EntrySealing, Seal | None]:
        """Return that of a snapshot to be written, and what its notes have to say of it."""
        ...

    def flaw(self, seal: Seal | None) -> str:
        """Return why a snapshot of which the notes say this is of no use; "" if nothing is."""
        ...

    def checksum(self, seal: Seal | None, stamp: bytes) -> Checksum:
        """Return what the file of a snapshot is to be recognised by.

        Args:
            seal: of it, without a `flaw`.
            stamp: what the snapshot is level with, to be vouched for as well.
        """
        ...


class PlainEntries:
    """`EntrySealing` that leaves all as it is."""

    order = ""

    def keys(self, partition: int) -> Callable[[bytes], bytes]:
        """Return what makes keys of ids; see `EntrySealing`."""
        return _plain_key

    def seal(self, partition: int, entries: Entries) -> Entries:
        """Return entries as they are."""
        return entries

    def unseal(self, partition: int, entries: Entries) -> Entries:
        """Return entries as they are."""
        return entries


class Plain:
    """`Sealing` without any."""

    def entries(self, kept: Seal | None = None) -> EntrySealing:
        """Return that of an environment in use; see `Sealing`."""
        return PlainEntries()

    def for_snapshot(self) -> tuple[EntrySealing, Seal | None]:
        """Return that of a snapshot; see `Sealing`."""
        return PlainEntries(), None

    def flaw(self, seal: Seal | None) -> str:
        """Return why a snapshot is of no use; see `Sealing`."""
        if seal is None:
            return ""
        return f"it is sealed with key {seal.key}, and there is no worker.state_key_file"

    def checksum(self, seal: Seal | None, stamp: bytes) -> Checksum:
        """Return XXH3, 128 bits: against damage, not against malice."""
        return xxhash.xxh3_128()


PLAIN = Plain()


def _plain_key(user_id: bytes) -> bytes:
    # No UTF-8 text begins with this byte.
    return user_id if len(user_id) <= _LONGEST_ID else b"\xff" + hashlib.sha256(user_id).digest()
