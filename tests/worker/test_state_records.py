"""Compiled records are what the codec writes, byte for byte."""

from itertools import pairwise

import numpy as np
import pytest
from worker_parts import NOW_MS, Worker, event, item

from schemas.clickstream import EventType
from schemas.codec import decode_state, encode_state
from schemas.settings import WorkerSettings
from schemas.user_state import LAYOUT_VERSION, event_key
from worker.byte_table import ByteTable, packed
from worker.catalogue import ItemChange
from worker.event_keys import event_keys
from worker.state.residents import ResidentUser

SIZES = [0, 1, 127, 128, 255, 256, 65_535, 65_536, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1]
IDS = ["i", "x" * 31, "y" * 32, "z" * 128, "ключ" * 10, "🛒" * 64, 'a"\\\n\x00b']


def by_codec(worker: Worker, slot: int) -> bytes:
    arrays = worker.arena.gather_rows(worker.arena.to_device(np.array([slot])))
    user = ResidentUser(worker.arena, slot)
    return encode_state(
        user.to_state(LAYOUT_VERSION, worker.model.version, arrays.numpy().tobytes())
    )


def compiled(worker: Worker, slots) -> list[bytes]:
    return worker.states.encode(np.array(slots, np.int64))


@pytest.fixture
def worker() -> Worker:
    worker = Worker(settings=WorkerSettings(top_k=5, recent_events=20), items=0)
    worker.catalogue.apply([ItemChange(name, item(0, title=name[:5])) for name in IDS])
    return worker


def test_numbers_and_texts_of_every_size(worker):
    draw = np.random.default_rng(0)
    users = [f"{name}{n}"[:128] for n in range(9) for name in IDS]
    slots = worker.arena.admit_all(users, [n % 300 for n in range(len(users))])
    columns = worker.arena.columns
    for slot in slots.tolist():
        for column in (columns.offset, columns.events_seen, columns.last_time):
            column[slot] = draw.choice(SIZES)
        columns.offset[slot] = draw.choice([-1, *SIZES])
        n = int(draw.integers(0, 21))
        columns.kept[slot] = n
        columns.active[slot] = NOW_MS
        columns.keys[slot, :n] = draw.integers(0, 2**64, n, dtype=np.uint64)
        columns.types[slot, :n] = draw.integers(0, len(EventType), n)
        columns.times[slot, :n] = NOW_MS - draw.choice([0, 1, 2**32 - 1, 2**32, NOW_MS], n)
        columns.items[slot, :n] = draw.integers(-1, len(IDS), n)
    assert compiled(worker, slots) == [by_codec(worker, slot) for slot in slots.tolist()]
    assert compiled(worker, slots[:0]) == []


def test_users_with_queries_and_unknown_items_beside_others(worker):
    worker.process(
        [
            event("a", 0, IDS[3]),
            event("b", 0, "nowhere"),
            event("c", 0, None, type=EventType.SEARCH, query="shoes"),
            event("d", 0, IDS[5]),
        ]
    )
    slots = [worker.arena.get(user).slot for user in "abcd"]
    values = compiled(worker, slots)
    assert values == [by_codec(worker, slot) for slot in slots]
    states = [decode_state(value) for value in values]
    assert [state.recent.items for state in states] == [[IDS[3]], ["nowhere"], [None], [IDS[5]]]
    assert states[2].recent.queries == {0: "shoes"}


def test_texts_of_events_that_are_long_gone_are_forgotten(worker):
    search = {"item_id": None, "type": EventType.SEARCH, "query": "shoes"}
    worker.process([event("u", 0, **search), event("u", 1, "nowhere")])
    slot = worker.arena.get("u").slot
    assert (len(worker.arena.texts(slot).queries), len(worker.arena.texts(slot).items)) == (1, 1)
    worker.process([event("u", 2 + n, IDS[0]) for n in range(20)], first_offset=2)
    assert not worker.arena.texts(slot).queries
    assert not worker.arena.texts(slot).items
    assert compiled(worker, [slot]) == [by_codec(worker, slot)]


def test_keys_of_events_are_those_of_the_schema():
    draw = np.random.default_rng(2)
    ids = [*IDS, *("e" * int(n) for n in draw.integers(1, 128, 50)), "🛒" * 128]
    assert event_keys(packed([i.encode() for i in ids])).tolist() == [event_key(i) for i in ids]
    assert event_keys(packed([])).shape == (0,)


def test_a_table_of_bytes_grows_and_keeps_what_is_there():
    table, expected = ByteTable(), []
    draw = np.random.default_rng(1)
    for _ in range(50):
        more = [draw.bytes(int(draw.integers(0, 300))) for _ in range(int(draw.integers(0, 40)))]
        table.extend(more)
        expected += more
    starts = table.starts.tolist()
    assert len(table) == len(expected)
    found = [table.data[a:b].tobytes() for a, b in pairwise(starts)]
    assert found == expected
