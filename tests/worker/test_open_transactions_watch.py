"""A transaction that takes its time is waited for; one that nobody will ever end is not."""

import pytest

from schemas.errors import BrokerError
from worker.open_transactions import CHECK_EVERY_S, OpenTransactions

LONGEST_S = 20.0


class Broker:
    """Partition 0, whose stable end and clock the tests set."""

    def __init__(self) -> None:
        self.now = 100.0
        self.stable = 7
        self.away = False
        self.asked = 0

    def stable_end(self, partition: int) -> int:
        assert partition == 0
        self.asked += 1
        if self.away:
            raise BrokerError("the brokers do not tell")
        return self.stable


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def wait(broker):
    """Wait for offset 9 for so many seconds, looking once a second."""
    watch = OpenTransactions("user-state", broker.stable_end, LONGEST_S, now=lambda: broker.now)

    def wait(seconds: int) -> None:
        for _ in range(seconds):
            watch.waited_for(0, 9)
            broker.now += 1.0

    return wait


def test_one_that_outlives_its_timeout_is_named(wait):
    wait(int(LONGEST_S) + 1)
    with pytest.raises(
        BrokerError, match=r"user-state-0 .* past offset 7, up to 9: .* 20 s.*abort"
    ):
        wait(int(CHECK_EVERY_S) + 1)


def test_the_brokers_are_not_asked_each_time(wait, broker):
    wait(20)
    assert broker.asked == 20 / CHECK_EVERY_S


def test_many_that_follow_each_other_are_waited_for(wait, broker):
    for _ in range(5):
        wait(int(LONGEST_S) - 1)
        broker.stable -= 1  # any other offset: the one that was open is over


def test_time_without_brokers_does_not_count(wait, broker):
    for _ in range(5):
        wait(int(LONGEST_S) - 1)
        broker.away = True
        wait(int(CHECK_EVERY_S) + 1)
        broker.away = False


def test_what_is_hidden_no_more_is_only_to_be_read(wait, broker):
    broker.stable = 9
    wait(3 * int(LONGEST_S))
