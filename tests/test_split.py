import numpy as np
import pytest

from schemas.errors import DataError
from worker.data import EventLog
from worker.split import SCORED_EVENTS, occurrence, split_at


def log_of(events: list[tuple[int, int]]) -> EventLog:
    """Events as (user, time), in time order."""
    users = np.array([user for user, _ in events], np.int32)
    return EventLog(
        users=users,
        items=np.arange(len(events), dtype=np.int32),
        types=np.zeros(len(events), np.int8),
        times=np.array([time for _, time in events], np.int64),
        user_ids=[str(user) for user in range(int(users.max()) + 1)],
    )


def test_new_users_are_scored_and_old_users_replayed() -> None:
    # First events at 0, 10, 20, 30: the 0.5 quantile is 15, so users 2 and 3 are new.
    log = log_of([(0, 0), (1, 10), (0, 14), (2, 20), (1, 25), (3, 30), (2, 40)])
    cut = split_at(log, 0.5)
    assert cut.time == 15
    assert cut.train.items.tolist() == [0, 1, 2]
    assert cut.stream.items.tolist() == [3, 4, 5, 6]
    assert cut.scored.tolist() == [True, False, True, True]
    assert cut.events_seen.tolist() == [0, 1, 0, 1]


def test_only_a_new_users_first_events_are_scored() -> None:
    old = [(user, user) for user in range(9)]
    log = log_of([*old, *((9, 100 + t) for t in range(SCORED_EVENTS + 5))])
    cut = split_at(log, 0.75)
    new = cut.stream.users == 9
    assert cut.scored[new].sum() == SCORED_EVENTS
    assert cut.scored[new][:SCORED_EVENTS].all()


def test_a_cut_without_new_users_is_refused() -> None:
    with pytest.raises(DataError, match="leaves no events on one side"):
        split_at(log_of([(0, 0), (0, 1)]), 0.75)


def test_occurrence_counts_earlier_equals() -> None:
    assert occurrence(np.array([5, 3, 5, 5, 3], np.int32)).tolist() == [0, 0, 1, 2, 1]
