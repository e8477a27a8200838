"""When users are kept for a warm restart, and when those kept are used: every doubt by itself."""

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from worker_parts import NOW_MS

from schemas.errors import BrokerError
from schemas.settings import Settings
from worker.restore.broker_facts import TopicFacts
from worker.restore.warm import WarmRestart
from worker.state.disk_store import DiskStore
from worker.state.entry import to_entry
from worker.state.sealed import Sealed
from worker.state.sealing import PLAIN, Sealing

IDS = {"user-state": "a", "clickstream": "b"}
DAY_MS = 86_400_000
PARTITIONS = {0, 1, 2}


class Brokers:
    """What the brokers say: facts of topics and the group, and offsets."""

    def __init__(self) -> None:
        self.ids = IDS
        self.ours = frozenset(PARTITIONS)
        self.ends = {0: 10, 1: 20, 2: 30}
        self.begin = 0
        self.silent = False

    def topics(self, names: list[str]) -> TopicFacts:
        assert names == list(IDS)
        if self.silent:
            raise BrokerError("the brokers do not tell")
        return TopicFacts(self.ids, DAY_MS)

    def assigned(self, member: str, topic: str) -> frozenset[int]:
        assert (member, topic) == ("me", "clickstream")
        return self.ours

    def offsets(self, topic: str, partition: int, timeout_s: float) -> range:
        return range(self.begin, self.ends[partition])

    def end_offset(self, topic: str, partition: int, timeout_s: float) -> int:
        return self.offsets(topic, partition, timeout_s).stop


class Place:
    """A folder, and workers that come and go."""

    def __init__(self, folder: Path, sealing: Sealing) -> None:
        self._folder = folder
        self._sealing = sealing
        self.brokers = Brokers()
        self.now = NOW_MS

    def open(self) -> WarmRestart:
        self.store = DiskStore(self._folder, warm=True, sealing=self._sealing)
        brokers = self.brokers
        warm = WarmRestart(self.store, brokers, brokers, Settings(), lambda: self.now)
        warm.start()
        return warm

    def end(self, warm: WarmRestart, left=PARTITIONS, lost=()) -> None:
        """Stop a worker that has all partitions."""
        warm.mark("me", PARTITIONS, lambda: left)
        for partition in PARTITIONS:
            if not warm.keeps(partition, lost=partition in lost):
                self.store.drop(partition)
        warm.save(SimpleNamespace(canonical=list))
        self.store.close()

    def fill(self) -> WarmRestart:
        warm = self.open()
        for partition in PARTITIONS:
            self.store.put(partition, {f"u{partition}": to_entry(b"", b"state")})
        return warm

    def found(self) -> dict[int, int]:
        """Return what the next worker resumes; of the rest it must find nothing."""
        warm = self.open()
        offsets = warm.resume(PARTITIONS)
        counts = {p: self.store.count(p) for p in PARTITIONS}
        assert counts == {p: int(p in offsets) for p in PARTITIONS}
        assert self.store.kept is None
        self.store.close()
        return offsets


@pytest.fixture(params=["plain", "sealed"])
def place(request, tmp_path) -> Place:
    return Place(tmp_path, PLAIN if request.param == "plain" else Sealed([b"k" * 32]))


def test_all_that_is_certain_is_kept_and_found(place):
    place.end(place.fill())
    place.now += DAY_MS // 2
    place.brokers.ends = dict.fromkeys(PARTITIONS, 1000)
    assert place.found() == {0: 10, 1: 20, 2: 30}
    assert place.found() == {}


def test_a_partition_that_may_be_someone_elses_is_not_kept(place):
    warm = place.fill()
    place.brokers.ours = frozenset({0, 1})
    place.end(warm, left={1, 2})
    assert place.found() == {1: 20}
    place.end(place.fill(), left=PARTITIONS, lost={1})
    assert place.found() == {0: 10}


def remake_topic(place: Place) -> None:
    place.brokers.ids = {**IDS, "clickstream": "c"}


def silence(place: Place) -> None:
    place.brokers.silent = True


def wait_too_long(place: Place) -> None:
    place.now += DAY_MS // 2 + 1


def set_the_clock_back(place: Place) -> None:
    place.now -= 1


def cut_the_log(place: Place) -> None:
    place.brokers.ends = dict.fromkeys(PARTITIONS, 9)


def cut_its_beginning(place: Place) -> None:
    place.brokers.begin = 31
    place.brokers.ends = dict.fromkeys(PARTITIONS, 40)


@pytest.mark.parametrize("change", [remake_topic, silence])
def test_nothing_is_kept_where_the_brokers_leave_doubt(place, change, caplog):
    warm = place.fill()
    change(place)
    with caplog.at_level(logging.WARNING):
        place.end(warm)
    assert "no users are kept for a warm restart" in caplog.text
    place.brokers = Brokers()
    assert place.found() == {}


CHANGES = [remake_topic, silence, wait_too_long, set_the_clock_back, cut_the_log, cut_its_beginning]


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_kept_is_not_used_where_something_changed(place, change, caplog):
    place.end(place.fill())
    change(place)
    with caplog.at_level(logging.WARNING):
        assert place.found() == {}
    assert caplog.text.count("users kept are not used") == len(PARTITIONS)


def test_partitions_that_come_late_are_found_for_a_while(place, monkeypatch):
    place.end(place.fill())
    warm = place.open()
    assert warm.resume([1]) == {1: 20}
    warm.tidy_up()
    assert warm.resume([2, 7]) == {2: 30}
    monkeypatch.setattr("worker.restore.warm.time.monotonic", lambda: float("inf"))
    warm.tidy_up()
    assert place.store.kept is None
    assert warm.resume([0]) == {}
    assert place.store.count(0) == 0
    place.store.close()
