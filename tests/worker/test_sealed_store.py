"""What a sealed store leaves on disk, for whom it can be read, and what is not believed of it."""

import json
import logging
import os
import random
import shutil
from pathlib import Path

import lmdb
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.errors import StateStoreError
from worker.state.disk_store import DiskStore
from worker.state.entry import to_entry
from worker.state.sealed import MasterKey, Sealed
from worker.state.sealing import PLAIN, Sealing
from worker.state.snapshot import Stamp

OLD, NEW = Sealed([b"o" * 32]), Sealed([b"n" * 32])
BOTH = Sealed([b"n" * 32, b"o" * 32])
STAMP = Stamp({"user-state": "id"}, saved_ms=5, next_offsets={0: 10, 1: 20})
IDS = [f"private-person-{n}" for n in range(300)]
LONG_ID = "ü" * 400
"""Longer than a key of LMDB may be."""


def record(user_id: str) -> bytes:
    return f"what {user_id} did: ".encode() + random.Random(user_id).randbytes(1000)


USERS = {user_id: to_entry(b"", record(user_id)) for user_id in [*IDS, LONG_ID]}


def keep(folder: Path, sealing: Sealing) -> None:
    """Leave a snapshot of USERS, in partition 0."""
    store = DiskStore(folder, sealing=sealing)
    store.put(0, USERS)
    store.keep(STAMP)
    store.close()


def found_in(folder: Path) -> set[str]:
    """Return what can be read in any file of a folder."""
    content = b"\n".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
    told = {"ids": IDS, "long id": [LONG_ID], "records": ["what private-person-"]}
    found = {what for what, texts in told.items() if any(t.encode() in content for t in texts)}
    randoms = [record(user_id)[-1000:] for user_id in USERS]
    return found | ({"bytes of records"} if any(r[:32] in content for r in randoms) else set())


def stored(environment: lmdb.Environment) -> dict[bytes, bytes]:
    """Return keys and values of partition 0, as they are on disk."""
    database = environment.open_db(b"0", create=False)
    with environment.begin(db=database) as transaction:
        return dict(transaction.cursor())


def kept_in(folder: Path) -> dict[bytes, bytes]:
    path = str(folder / "snapshot.lmdb")
    with lmdb.open(path, max_dbs=9, readonly=True, lock=False) as environment:
        return stored(environment)


@pytest.mark.parametrize("sealing", [PLAIN, NEW])
def test_nothing_of_users_can_be_read_in_the_folder(tmp_path, sealing):
    all_of_it = {"ids", "long id", "records", "bytes of records"}
    readable = all_of_it if sealing is PLAIN else set()
    store = DiskStore(tmp_path, sealing=sealing)
    store.put(0, USERS)
    store.take(0, IDS[:10])
    store.put(0, {user_id: USERS[user_id] for user_id in IDS[:10]})
    assert found_in(tmp_path) == readable
    store.keep(STAMP)
    store.close()
    assert found_in(tmp_path) == readable
    store = DiskStore(tmp_path, warm=True, sealing=sealing)
    assert store.adopt(0) == len(USERS)
    store.put(0, {user_id: USERS[user_id] for user_id in IDS[:50]})
    assert found_in(tmp_path) == readable
    assert dict(store.scan(0, 1000)) == USERS
    store.close()


def test_the_notes_hold_nothing_personal(tmp_path):
    keep(tmp_path, NEW)
    notes = json.loads((tmp_path / "snapshot.json").read_bytes())
    assert notes.keys() == {"layout", "stamp", "digest", "seal"}
    assert notes["stamp"].keys() == {"topics", "saved_ms", "next_offsets"}
    assert notes["seal"].keys() == {"key", "salt"}
    assert notes["seal"]["key"] == NEW.key == MasterKey(b"n" * 32).name


@pytest.mark.parametrize(
    ("by", "reader", "reason"),
    [
        (OLD, NEW, f"sealed with key {OLD.key}, and worker.state_key_file has only {NEW.key}"),
        (OLD, PLAIN, "there is no worker.state_key_file"),
        (PLAIN, NEW, "it is not sealed"),
    ],
)
def test_a_snapshot_of_another_key_is_removed_at_the_start(tmp_path, by, reader, reason, caplog):
    keep(tmp_path, by)
    with caplog.at_level(logging.WARNING):
        store = DiskStore(tmp_path, warm=True, sealing=reader)
    assert store.kept is None
    (warning,) = caplog.messages
    assert reason in warning
    assert found_in(tmp_path) == set()
    assert {path.name for path in tmp_path.iterdir()} == {"worker.lock", "users.lmdb"}
    store.close()


def test_keys_are_exchanged_over_a_restart(tmp_path):
    keep(tmp_path, OLD)
    before = kept_in(tmp_path)
    store = DiskStore(tmp_path, warm=True, sealing=BOTH)
    assert store.adopt(0) == len(USERS)
    assert store.take(0, IDS[:3]) == {user_id: USERS[user_id] for user_id in IDS[:3]}
    store.put(0, {user_id: USERS[user_id] for user_id in IDS[:3]})
    store.put(1, {"another": to_entry(b"", b"A")})
    store.keep(STAMP)
    store.close()
    after = kept_in(tmp_path)
    assert len(after) == len(before)
    assert not after.keys() & before.keys()
    store = DiskStore(tmp_path, warm=True, sealing=NEW)
    assert (store.adopt(0), store.adopt(1)) == (len(USERS), 1)
    assert dict(store.scan(0, 1000)) == USERS
    assert store.take(0, [LONG_ID]) == {LONG_ID: USERS[LONG_ID]}
    store.close()


def change_an_offset(notes: Path, file: Path) -> None:
    text = notes.read_bytes()
    assert b'"0":10' in text
    notes.write_bytes(text.replace(b'"0":10', b'"0":99'))


def change_the_time(notes: Path, file: Path) -> None:
    text = notes.read_bytes()
    assert b'"saved_ms":5' in text
    notes.write_bytes(text.replace(b'"saved_ms":5', b'"saved_ms":6'))


def change_the_salt(notes: Path, file: Path) -> None:
    told = json.loads(notes.read_bytes())
    told["seal"]["salt"] = told["seal"]["salt"][::-1].strip("=")[:40] + "AAA="
    notes.write_bytes(json.dumps(told).encode())


def swap_two_users(notes: Path, file: Path) -> None:
    with (
        lmdb.open(str(file.parent), max_dbs=9, lock=False) as environment,
        environment.begin(write=True, db=environment.open_db(b"0")) as transaction,
    ):
        (first, one), (second, other) = list(transaction.cursor())[:2]
        transaction.put(first, other)
        transaction.put(second, one)


def leave_one_out(notes: Path, file: Path) -> None:
    with (
        lmdb.open(str(file.parent), max_dbs=9, lock=False) as environment,
        environment.begin(write=True, db=environment.open_db(b"0")) as transaction,
    ):
        transaction.delete(next(iter(transaction.cursor()))[0])


def checksum_without_a_key(notes: Path, file: Path) -> None:
    """What somebody can do who has the program, and no key."""
    leave_one_out(notes, file)
    told = json.loads(notes.read_bytes())
    checksum = PLAIN.checksum(None, b"")
    checksum.update(file.read_bytes())
    notes.write_bytes(json.dumps(told | {"digest": checksum.hexdigest()}).encode())


HARM = [
    change_an_offset,
    change_the_time,
    change_the_salt,
    swap_two_users,
    leave_one_out,
    checksum_without_a_key,
]


@pytest.mark.parametrize("harm", HARM)
def test_what_somebody_changed_is_not_believed(tmp_path, harm, caplog):
    keep(tmp_path, NEW)
    harm(tmp_path / "snapshot.json", tmp_path / "snapshot.lmdb" / "data.mdb")
    with caplog.at_level(logging.WARNING):
        store = DiskStore(tmp_path, warm=True, sealing=NEW)
    (warning,) = caplog.messages
    assert "the file is not the one that was written" in warning
    assert store.kept is None
    assert store.take(0, IDS) == {}
    store.close()


def test_an_entry_holds_only_where_it_was_written():
    sealing = NEW.entries()
    key = sealing.keys(0)
    plain = [(key(b"a"), b"of a"), (key(b"b"), b"of b")]
    sealed = sealing.seal(0, plain)
    assert sealing.unseal(0, sealed) == plain
    (first, one), (second, other) = sealed
    flipped = one[:-1] + bytes([one[-1] ^ 1])
    for wrong in [(first, other), (second, one), (first, flipped), (first, one[:-1]), (first, b"")]:
        with pytest.raises(StateStoreError, match="is not what was sealed"):
            sealing.unseal(0, [wrong])
    with pytest.raises(StateStoreError, match="partition 1 is not"):
        sealing.unseal(1, sealed)
    assert key(b"a") != sealing.keys(1)(b"a")
    assert key(b"a") != OLD.entries().keys(0)(b"a")
    assert {len(one) for one, _ in sealed} == {16}


def test_an_entry_changed_while_the_worker_runs_ends_it_and_keeps_nothing(tmp_path, caplog):
    store = DiskStore(tmp_path, sealing=NEW)
    store.put(0, USERS)
    database = store._databases[0]
    with store._environment.begin(write=True, db=database) as transaction:
        key, value = next(iter(transaction.cursor()))
        transaction.put(key, value[:-1] + bytes([value[-1] ^ 1]))
    with pytest.raises(StateStoreError, match="is not what was sealed"):
        store.scan(0, 1000)
    store.keep(STAMP)
    with caplog.at_level(logging.WARNING):
        store.close()
    assert "no snapshot of users is kept" in caplog.text
    assert {path.name for path in tmp_path.iterdir()} == {"worker.lock"}


def test_no_nonce_comes_twice_under_one_key(tmp_path):
    """Whatever is opened again, be it the copy of a folder: keys for writing are new each time."""
    keep(tmp_path, NEW)
    shutil.copytree(tmp_path, copy := tmp_path.with_name("copy"))
    at_rest = kept_in(tmp_path)
    nonces = [value[:12] for value in at_rest.values()]
    assert len(set(nonces)) == len(nonces)
    again = []
    for folder in (tmp_path, copy):
        store = DiskStore(folder, warm=True, sealing=NEW)
        store.adopt(0)
        store.put(0, {user_id: USERS[user_id] for user_id in IDS[:100]})
        again.append(stored(store._environment))
        store.close()
    first, second = again
    assert first.keys() == second.keys() == at_rest.keys()
    written = {key for key, value in first.items() if value != at_rest[key]}
    assert len(written) == 100
    assert not {first[key][:12] for key in written} & set(nonces)
    # The same text at the same place by the same nonce, and yet another ciphertext.
    assert all(first[key][:12] == second[key][:12] for key in written)
    assert all(first[key][12:] != second[key][12:] for key in written)


def test_what_a_killed_worker_leaves_nobody_can_read():
    gone = NEW.entries()
    key = gone.keys(0)(b"a")
    left = gone.seal(0, [(key, b"of a")])
    with pytest.raises(StateStoreError, match="is not what was sealed"):
        NEW.entries().unseal(0, left)


def test_the_checksum_is_gmac():
    """As AES-256-GCM has it of no text, which has test vectors of its own in the library."""
    _, seal = NEW.for_snapshot()
    content = os.urandom(5000)
    checksum = NEW.checksum(seal, b"stamp")
    checksum.update(content[:17])
    checksum.update(content[17:])
    key = MasterKey(b"n" * 32).derive(b"checksum", seal.salt)
    authenticated = (5).to_bytes(8, "big") + b"stamp" + content
    assert checksum.hexdigest() == AESGCM(key).encrypt(bytes(12), b"", authenticated).hex()


def test_keys_for_each_purpose_are_others():
    master = MasterKey(b"n" * 32)
    salt = bytes(32)
    derived = {master.derive(purpose, salt) for purpose in (b"a", b"b")} | {
        master.derive(b"a", b"\1" * 32),
        MasterKey(b"o" * 32).derive(b"a", salt),
    }
    assert len(derived) == 4
    assert {len(key) for key in derived} == {32}
    assert b"n" * 8 not in repr(master).encode()
