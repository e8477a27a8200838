"""All stores by one contract, and what only one on disk can suffer, sealed or not."""

import logging
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from schemas.errors import StateStoreError
from worker.state.disk_store import DiskStore
from worker.state.entry import to_entry, without_list
from worker.state.sealed import Sealed
from worker.state.sealing import PLAIN, Sealing
from worker.state.snapshot import LAYOUT, Stamp, write_notes
from worker.state.store import MemoryStore, open_store

SEALINGS = {"plain": PLAIN, "sealed": Sealed([bytes(range(32))])}


@pytest.fixture(params=SEALINGS)
def sealing(request) -> Sealing:
    return SEALINGS[request.param]


@pytest.fixture
def disk(sealing) -> Callable[..., DiskStore]:
    return partial(DiskStore, sealing=sealing)


@pytest.fixture(params=["memory", *SEALINGS])
def store(request, tmp_path):
    sealing = SEALINGS.get(request.param, PLAIN)
    opened = open_store(None if request.param == "memory" else tmp_path / "users", sealing=sealing)
    assert isinstance(opened, MemoryStore if request.param == "memory" else DiskStore)
    yield opened
    opened.close()


def test_what_is_taken_was_put_last_and_is_gone(store):
    store.put(3, {"a": b"1", "b": b"2", "c": b""})
    store.put(3, {"b": b"22"})
    store.put(4, {"a": b"other"})
    assert store.count(3) == 3
    assert store.take(3, ["b", "c", "nobody"]) == {"b": b"22", "c": b""}
    assert store.take(3, ["b", "c"]) == {}
    assert (store.count(3), store.count(4)) == (1, 1)
    assert store.take(5, ["a"]) == {}
    assert sorted(store.partitions) == [3, 4]


def test_a_partition_is_dropped_whole_and_may_come_back(store):
    store.put(0, {"a": b"1"})
    store.put(1, {"b": b"2"})
    store.drop(0)
    store.drop(7)
    assert (store.count(0), store.count(1)) == (0, 1)
    assert store.scan(0, 10) == []
    store.put(0, {"a": b"3"})
    assert store.take(0, ["a"]) == {"a": b"3"}


@pytest.mark.parametrize("user_id", ["a", "\0", "ü" * 128, "𝄞" * 128, "a\0", "-"])
def test_any_user_id_is_a_key(store, user_id):
    store.put(0, {user_id: b"1", "𝄞" * 127 + "x": b"2"})
    assert dict(store.scan(0, 10)) == {user_id: b"1", "𝄞" * 127 + "x": b"2"}
    assert store.take(0, [user_id]) == {user_id: b"1"}


def test_a_scan_comes_round_while_users_come_and_go(store):
    draw = random.Random(3)
    steady = {f"s{n}": bytes([n]) for n in range(50)}
    store.put(0, steady)
    seen = {}
    for turn in range(40):
        seen.update(store.scan(0, 7))
        store.put(0, {f"t{turn}": b"t"})
        store.take(0, [f"t{draw.randrange(turn + 1)}"])
        if steady.keys() <= seen.keys():
            break
    assert {user: seen[user] for user in steady} == steady
    assert store.scan(9, 5) == []


def test_behaves_as_a_dictionary(store):
    draw, model = random.Random(1), {}
    for step in range(300):
        users = [f"u{draw.randrange(40)}" for _ in range(5)]
        if draw.random() < 0.5:
            model |= dict.fromkeys(users, str(step).encode())
            store.put(2, dict.fromkeys(users, str(step).encode()))
        else:
            expected = {user: model.pop(user) for user in users if user in model}
            assert store.take(2, users) == expected
        assert store.count(2) == len(model)


def test_a_folder_is_for_one_worker_and_keeps_nothing(tmp_path, disk):
    first = disk(tmp_path / "users")
    first.put(0, {"a": b"1"})
    with pytest.raises(StateStoreError, match="another worker uses it"):
        disk(tmp_path / "users")
    first.close()
    second = disk(tmp_path / "users")
    assert second.take(0, ["a"]) == {}
    second.close()
    assert not (tmp_path / "users" / "users.lmdb").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StateStoreError, match=r"worker\.state_folder .*file/users"):
        DiskStore(tmp_path / "file" / "users")


def test_a_full_store_says_so(tmp_path, monkeypatch, disk):
    monkeypatch.setattr("worker.state.disk_store._MAP_BYTES", 1 << 18)
    store = disk(tmp_path)
    store.put(0, {"a": b"kept"})
    with pytest.raises(StateStoreError, match="MDB_MAP_FULL"):
        store.put(0, {f"u{n}": bytes(2000) for n in range(500)})
    assert store.take(0, ["a"]) == {"a": b"kept"}
    store.close()


STAMP = Stamp({"user-state": "id"}, saved_ms=5, next_offsets={0: 10, 2: 30})


def kept_in(folder: Path, disk: Callable[..., DiskStore]) -> DiskStore:
    """Return a store, opened warm, of what another one kept of the partitions of STAMP."""
    store = disk(folder)
    store.put(0, {"a": to_entry(b"list", b"A"), "b": to_entry(b"", b"B"), "gone": b"\0\0\0\0GONE"})
    store.put(1, {"c": to_entry(b"", b"C")})
    store.take(0, ["gone"])
    store.keep(STAMP)
    store.close()
    return disk(folder, warm=True)


def test_what_is_kept_is_adopted_without_lists_or_discarded(tmp_path, disk):
    store = kept_in(tmp_path, disk)
    assert store.kept == STAMP
    assert store.partitions == []
    assert (store.adopt(0), store.adopt(2)) == (2, 0)
    assert store.kept is None
    assert dict(store.scan(0, 10)) == {"a": to_entry(b"", b"A"), "b": to_entry(b"", b"B")}
    store.put(0, {"a": b"1"})
    assert store.take(0, ["a", "b"]) == {"a": b"1", "b": to_entry(b"", b"B")}
    store.close()
    store = kept_in(tmp_path, disk)
    store.discard(0)
    assert store.kept.next_offsets == {2: 30}
    assert store.count(0) == 0
    store.put(0, {"a": b"new"})
    assert store.scan(0, 10) == [("a", b"new")]
    store.close()


def test_what_was_kept_is_used_once_and_by_who_asks_for_it(tmp_path, disk):
    kept_in(tmp_path, disk)._lock.close()  # as if killed
    store = disk(tmp_path, warm=True)
    assert store.kept is None
    assert store.take(0, ["a"]) == {}
    store.close()
    kept_in(tmp_path, disk).close()
    assert [path.name for path in tmp_path.iterdir()] == ["worker.lock"]
    kept_in(tmp_path, disk)._lock.close()
    store = disk(tmp_path)
    assert store.kept is None
    store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["worker.lock"]


def test_many_users_are_kept_in_pages_filled_up(tmp_path, monkeypatch, disk):
    monkeypatch.setattr("worker.state.disk_store._USERS_AT_ONCE", 100)
    store = disk(tmp_path)
    draw = random.Random(5)
    users = {f"u{n}": to_entry(b"l" * draw.randrange(9), draw.randbytes(900)) for n in range(1234)}
    for user, entry in sorted(users.items(), key=lambda _: draw.random()):
        store.put(7, {user: entry})
    before = (tmp_path / "users.lmdb" / "data.mdb").stat().st_size
    store.keep(Stamp({}, 0, {7: 1}))
    store.close()
    assert (tmp_path / "snapshot.lmdb" / "data.mdb").stat().st_size < 0.8 * before
    store = disk(tmp_path, warm=True)
    assert store.adopt(7) == len(users)
    expected = {user: without_list(entry) for user, entry in users.items()}
    assert dict(store.scan(7, 5000)) == expected
    store.close()


def flip_a_bit(notes: Path, file: Path, sealing: Sealing) -> str:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    return "the file is not the one that was written"


def cut_short(notes: Path, file: Path, sealing: Sealing) -> str:
    file.write_bytes(file.read_bytes()[:5000])
    return "the file is not the one that was written"


def no_file(notes: Path, file: Path, sealing: Sealing) -> str:
    file.unlink()
    return "it cannot be read"


def garbage_for_notes(notes: Path, file: Path, sealing: Sealing) -> str:
    notes.write_bytes(b"\xff garbage")
    return "the notes on it cannot be read"


def half_of_the_notes(notes: Path, file: Path, sealing: Sealing) -> str:
    notes.write_bytes(notes.read_bytes()[:60])
    return "the notes on it cannot be read"


def another_layout(notes: Path, file: Path, sealing: Sealing) -> str:
    ours, other = (f'"layout":{n},'.encode() for n in (LAYOUT, LAYOUT + 1))
    assert ours in notes.read_bytes()
    notes.write_bytes(notes.read_bytes().replace(ours, other))
    return f"its layout is {LAYOUT + 1}"


def not_lmdb(notes: Path, file: Path, sealing: Sealing) -> str:
    """The file of somebody else, with notes that go with it."""
    file.write_bytes(bytes(20_000))
    write_notes(notes.parent, file, STAMP, sealing, sealing.for_snapshot()[1])
    return "is not used"


HARM = [
    flip_a_bit,
    cut_short,
    no_file,
    garbage_for_notes,
    half_of_the_notes,
    another_layout,
    not_lmdb,
]


@pytest.mark.parametrize("harm", HARM)
def test_what_is_not_as_it_was_written_is_not_offered(tmp_path, harm, caplog, disk, sealing):
    kept_in(tmp_path, disk).close()
    store = disk(tmp_path)
    store.put(0, {"a": to_entry(b"", b"A")})
    store.keep(STAMP)
    store.close()
    reason = harm(tmp_path / "snapshot.json", tmp_path / "snapshot.lmdb" / "data.mdb", sealing)
    with caplog.at_level(logging.WARNING):
        store = disk(tmp_path, warm=True)
    assert reason in caplog.text
    assert len(caplog.records) == 1
    assert store.kept is None
    store.put(0, {"b": b"B"})
    assert store.scan(0, 10) == [("b", b"B")]
    assert {path.name for path in tmp_path.iterdir()} == {"worker.lock", "users.lmdb"}
    store.close()
