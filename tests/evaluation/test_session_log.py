"""The layout of sessions, and what of it is known at a moment."""

from __future__ import annotations

import numpy as np
from event_logs import N_ITEMS, make_log, pairs
from hypothesis import given, settings

from worker.evaluation.baselines.session_log import lay_out, learn, learn_all


def known_session(log, user):
    """The items learned of a user, oldest first."""
    start = log.starts[user]
    return log.items[start : start + log.learned[user]].tolist()


def known_users(log, item):
    start = log.item_starts[item]
    return log.item_users[start : start + log.learned_users[item]].tolist()


@settings(deadline=None)  # the first call may compile
@given(train=pairs(), stream=pairs(min_size=1))
def test_after_each_event_exactly_the_events_so_far_are_known(train, stream):
    log = lay_out(make_log(train), make_log(stream), N_ITEMS)
    train_log = make_log(train)
    learn_all(log, train_log.users, train_log.times)
    so_far = list(train)
    for time, event in enumerate(stream, start=len(train)):
        learn(log, event[0], time)
        so_far.append(event)
        check(log, so_far)


def check(log, events):
    for user in {user for user, _ in events}:
        session = [item for someone, item in events if someone == user]
        assert known_session(log, user) == session
        assert log.distinct[user] == len(set(session))
        last = max(place for place, (someone, _) in enumerate(events) if someone == user)
        assert log.last_event[user] == last + 1
        end = log.starts[user] + len(session)
        rows = range(log.starts[user], end)
        last_rows = {int(log.items[row]) for row in rows if log.same_later[row] >= end}
        assert last_rows == set(session)
        assert sum(log.same_later[row] >= end for row in rows) == len(last_rows)
    for item in range(N_ITEMS):
        users = dict.fromkeys(user for user, other in events if other == item)
        assert known_users(log, item) == list(users)
    assert log.totals.tolist() == [len(events), len({user for user, _ in events})]


def test_what_is_laid_out_has_not_happened_yet():
    log = lay_out(make_log([]), make_log([(0, 1), (1, 2)]), N_ITEMS)
    assert not np.any(log.happened)
    assert not np.any(log.learned)
    assert known_users(log, 1) == []


def test_training_events_have_happened_and_are_learned_with_their_times():
    train = make_log([(0, 1), (1, 2), (0, 3)], times=[5, 7, 9])
    log = lay_out(train, make_log([]), N_ITEMS)
    learn_all(log, train.users, train.times)
    assert log.happened.tolist() == [2, 1]
    assert log.last_time.tolist() == [9, 7]
