import numpy as np

from worker.data import EventLog
from worker.training.sequences import NO_GAP, UserStreams


def random_log(n: int, users: int, seed: int = 0) -> EventLog:
    rng = np.random.default_rng(seed)
    return EventLog(
        users=rng.integers(0, users, n).astype(np.int32),
        items=rng.integers(0, 50, n).astype(np.int32),
        types=rng.integers(0, 3, n).astype(np.int8),
        times=np.sort(rng.integers(0, 10_000_000, n)),
        user_ids=[str(user) for user in range(users)],
    )


def test_every_event_comes_once_in_its_users_order_with_its_gap() -> None:
    log = random_log(500, 40)
    streams = UserStreams(log, longest=1000)
    seen = []
    for batch, rows in streams.batches_with_rows(8):
        seen.extend(rows.tolist())
        assert batch.items[batch.mask].tolist() == log.items[rows].tolist()
        assert batch.types[batch.mask].tolist() == log.types[rows].tolist()
        at = 0
        for stream in range(len(batch.mask)):
            length = int(batch.mask[stream].sum())
            own = rows[at : at + length]
            at += length
            assert len(set(log.users[own])) == 1
            assert (np.diff(own) > 0).all()
            expected = [NO_GAP, *np.diff(log.times[own]) / 1000]
            np.testing.assert_allclose(batch.gaps[stream, :length].numpy(), expected, rtol=1e-6)
    assert sorted(seen) == list(range(500))
    assert streams.events == 500


def test_long_streams_are_cut_and_short_ones_left_out() -> None:
    log = EventLog(
        users=np.array([0] * 7 + [1], np.int32),
        items=np.arange(8, dtype=np.int32),
        types=np.zeros(8, np.int8),
        times=np.arange(8) * 1000,
        user_ids=["a", "b"],
    )
    streams = UserStreams(log, longest=3, shortest=2)
    batch = next(streams.batches(10))
    assert sorted(map(tuple, batch.items.tolist())) == [(0, 1, 2), (3, 4, 5)]
    # A later piece keeps the gap to the event before it: it is no first event.
    assert (batch.gaps[:, 0] == NO_GAP).sum() == 1


def test_the_same_generator_gives_the_same_batches() -> None:
    streams = UserStreams(random_log(300, 60), longest=20)
    runs = [
        [batch.items.tolist() for batch in streams.batches(8, np.random.default_rng(3))]
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert len(runs[0]) == streams.batch_count(8)


def test_parts_take_turns_and_each_stream_has_one_turn() -> None:
    streams = UserStreams(random_log(900, 61), longest=20)
    n = len(streams)
    assert n % 4
    turns = [streams.part(number, 4, seed=1) for number in range(8)]
    assert [len(turn) for turn in turns] == [n // 4] * 8
    rows = [
        {row for _, of_batch in turn.batches_with_rows(8) for row in of_batch} for turn in turns
    ]
    for dealt in (rows[:4], rows[4:]):
        assert len(set.union(*dealt)) == sum(map(len, dealt))
    assert rows[0] not in rows[4:]
    assert sum(len(of_turn) for of_turn in rows[:4]) == sum(turn.events for turn in turns[:4])

    def again(number: int, seed: int) -> list[list[int]]:
        part = streams.part(number, 4, seed)
        return [of_batch.tolist() for _, of_batch in part.batches_with_rows(8)]

    assert again(5, 1) == [of_batch.tolist() for _, of_batch in turns[5].batches_with_rows(8)]
    assert again(5, 2) != again(5, 1)
    assert streams.part(3, 1, seed=1) is streams
