"""Users on disk that nobody reads without a key: AES-256-GCM, under keyed hashes of their ids.

Three kinds of keys are derived from a master key (HKDF-SHA-256, RFC 5869): for the hashes, for the
entries of one snapshot, and for the checksum of that snapshot. What is written while a worker runs
is sealed with a key that is drawn at random, never leaves memory, and is gone with the process.

No nonce (NIST SP 800-38D: 96 bits, a fixed field of 32 and a counter of 64) is ever used twice
under one key: every key for entries is new, its counter begins at zero, and one process alone seals
with it. See docs/decisions/0029-sealed-user-store.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from schemas.errors import StateStoreError
from worker.state.sealing import Checksum, Entries, EntrySealing, Seal

KEY_BYTES = 32
_SALT_BYTES = 32
_HASH_BYTES = 16
_NONCE_BYTES = 12
_FIELD_BYTES = 4
# The nonce's fixed field, by which the key is found again.
_SNAPSHOT = (0).to_bytes(_FIELD_BYTES, "big")
_LIVE = (1).to_bytes(_FIELD_BYTES, "big")
_CONTEXT = b"innerloop user store 1 "
"""What keys are derived for begins with this: no other use of a master key gives the same ones."""


class MasterKey:
    """A key of `worker.state_key_file`, from which all that are used are derived.

    Args:
        secret: `KEY_BYTES` bytes, drawn at random.

    Attributes:
        name: 16 hexadecimal digits, by which a snapshot says which key it needs.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.name = self.derive(b"name")[:8].hex()

    def derive(self, purpose: bytes, salt: bytes | None = None) -> bytes:
        """Return the key for a purpose, `KEY_BYTES` bytes."""
        derivation = HKDF(SHA256(), length=KEY_BYTES, salt=salt, info=_CONTEXT + purpose)
        return derivation.derive(self._secret)


class SealedEntries:
    """`EntrySealing` by keys.

    A key of LMDB is BLAKE2b of the user id, 128 bits, keyed and personalised by the partition. A
    value is nonce, ciphertext and tag; partition and key are authenticated with it, so that an
    entry holds only where it was written.

    Args:
        master: of the hashes.
        ciphers: for reading, by the nonce's fixed field.
        field: that of the one for writing, which nobody has sealed anything with.
    """

    def __init__(self, master: MasterKey, ciphers: Mapping[bytes, AESGCM], field: bytes) -> None:
        self.order = master.name
        self._hash_key = master.derive(b"hashes of ids")
        self._ciphers = ciphers
        self._writing = ciphers[field]
        self._field = field
        self._sealed = 0

    def keys(self, partition: int) -> Callable[[bytes], bytes]:
        """Return what makes keys of ids; see `EntrySealing`."""
        person = partition.to_bytes(blake2b.PERSON_SIZE, "big")
        fresh = blake2b(key=self._hash_key, digest_size=_HASH_BYTES, person=person).copy

        def key(user_id: bytes) -> bytes:
            keyed = fresh()
            keyed.update(user_id)
            return keyed.digest()

        return key

    def seal(self, partition: int, entries: Entries) -> Entries:
        """Return entries sealed; see `EntrySealing`."""
        field, encrypt, place = self._field, self._writing.encrypt, _place(partition)
        first = self._sealed
        self._sealed += len(entries)  # first of all: whatever happens below, no number comes again
        sealed = []
        for number, (key, entry) in enumerate(entries, first):
            nonce = field + number.to_bytes(_NONCE_BYTES - _FIELD_BYTES, "big")
            sealed.append((key, nonce + encrypt(nonce, entry, place + key)))
        return sealed

    def unseal(self, partition: int, entries: Entries) -> Entries:
        """Return what was sealed; see `EntrySealing`."""
        ciphers, place = self._ciphers, _place(partition)
        try:
            return [
                (
                    key,
                    ciphers[value[:_FIELD_BYTES]].decrypt(
                        value[:_NONCE_BYTES], value[_NONCE_BYTES:], place + key
                    ),
                )
                for key, value in entries
            ]
        except (InvalidTag, KeyError, ValueError):
            raise StateStoreError(
                f"what worker.state_folder holds of a user of partition {partition} is not what "
                "was sealed: the disk or somebody else has changed it; a worker started anew reads "
                "all users from user-state"
            ) from None


class Sealed:
    """`Sealing` by master keys.

    Args:
        secrets: one or several; the first one is written with, all are read with.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        masters = [MasterKey(secret) for secret in secrets]
        self._first = masters[0]
        self._masters = {master.name: master for master in masters}

    @property
    def key(self) -> str:
        """Name of the key that is written with."""
        return self._first.name

    def entries(self, kept: Seal | None = None) -> EntrySealing:
        """Return that of an environment in use; see `Sealing`."""
        ciphers = {_LIVE: AESGCM(AESGCM.generate_key(8 * KEY_BYTES))}
        if kept is None:
            return SealedEntries(self._first, ciphers, _LIVE)
        master = self._masters[kept.key]
        ciphers[_SNAPSHOT] = _snapshot_cipher(master, kept.salt)
        # Its users stay where they are, and so whoever is put beside them goes by the same hashes.
        return SealedEntries(master, ciphers, _LIVE)

    def for_snapshot(self) -> tuple[EntrySealing, Seal | None]:
        """Return that of a snapshot; see `Sealing`."""
        seal = Seal(self._first.name, os.urandom(_SALT_BYTES))
        ciphers = {_SNAPSHOT: _snapshot_cipher(self._first, seal.salt)}
        return SealedEntries(self._first, ciphers, _SNAPSHOT), seal

    def flaw(self, seal: Seal | None) -> str:
        """Return why a snapshot is of no use; see `Sealing`."""
        if seal is None:
            return "it is not sealed, and there is a worker.state_key_file"
        if seal.key in self._masters:
            return ""
        return (
            f"it is sealed with key {seal.key}, and worker.state_key_file has only "
            f"{', '.join(self._masters)}"
        )

    def checksum(self, seal: Seal | None, stamp: bytes) -> Checksum:
        """Return a message authentication code that holds for this stamp only."""
        assert seal is not None, "it has a flaw"
        checksum = _Gmac(self._masters[seal.key].derive(b"checksum", seal.salt))
        checksum.update(len(stamp).to_bytes(8, "big") + stamp)
        return checksum


class _Gmac:
    """`Checksum` by AES-256-GMAC (NIST SP 800-38D), under a key that is used for one alone."""

    def __init__(self, key: bytes) -> None:
        self._encryptor = Cipher(AES(key), GCM(bytes(_NONCE_BYTES))).encryptor()

    def update(self, data: bytes, /) -> None:
        self._encryptor.authenticate_additional_data(data)

    def hexdigest(self) -> str:
        self._encryptor.finalize()
        return self._encryptor.tag.hex()


def _snapshot_cipher(master: MasterKey, salt: bytes) -> AESGCM:
    return AESGCM(master.derive(b"entries of a snapshot", salt))


def _place(partition: int) -> bytes:
    return partition.to_bytes(4, "big")
