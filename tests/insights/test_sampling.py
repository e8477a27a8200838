"""A sample of the users is of the size asked for, and always the same."""

import pytest

from worker.insights.sampling import UserSample

KNOWN = [40, 41, 46, 50, 56, 59]
USERS = [f"user-{n}".encode() for n in range(20_000)]


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_it_is_as_large_as_asked_for(rate):
    sample = UserSample(rate)
    taken = sum(map(sample.includes, USERS))
    spread = (len(USERS) * rate * (1 - rate)) ** 0.5
    assert abs(taken - rate * len(USERS)) < 4 * spread
    assert sample.rate == pytest.approx(rate, abs=1e-9)


def test_a_larger_one_keeps_the_users_of_a_smaller_one():
    small, large = UserSample(0.05), UserSample(0.2)
    assert all(large.includes(user) for user in USERS if small.includes(user))


def test_it_is_the_same_in_every_process():
    # Values written down, so that another version samples the same users.
    assert [n for n in range(60) if UserSample(0.1).includes(b"user-%d" % n)] == KNOWN


def test_everyone_is_everyone():
    assert all(map(UserSample(1.0).includes, USERS))
