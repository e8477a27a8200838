"""Two topics come into one order by time, and no record waits for ever."""

from worker.insights.incoming import Incoming, JoinBuffer

WAIT_MS = 1000


class Message:
    def ack(self) -> None: ...


def record(stamp_ms: int, read_ms: int = 10**12) -> Incoming:
    return Incoming(0, stamp_ms, read_ms, b"u", b"", Message())


def taken(buffer: JoinBuffer) -> list[tuple[str, int]]:
    return [("event" if event else "list", r.stamp_ms) for event, r in buffer.take()]


def buffer(events=(), lists=()) -> JoinBuffer:
    made = JoinBuffer(WAIT_MS)
    for stamp in events:
        made.events.add(record(stamp))
    for stamp in lists:
        made.recommendations.add(record(stamp))
    return made


def test_an_event_has_its_turn_after_the_lists_that_may_have_caused_it():
    made = buffer(events=[5000], lists=[4000, 5900, 6100])
    assert taken(made) == [("list", 4000), ("list", 5900), ("event", 5000)]
    assert not list(made.take())  # the list of 6100 may be ahead of events not read yet


def test_an_event_waits_until_the_lists_are_read_far_enough():
    made = buffer(events=[5000])
    assert taken(made) == []
    made.recommendations.complete_until(5999)
    assert taken(made) == []
    made.recommendations.complete_until(6000)
    assert taken(made) == [("event", 5000)]


def test_a_list_waits_for_events_that_are_not_read_yet():
    made = buffer(lists=[5000, 9000])
    made.events.complete_until(4000)
    assert taken(made) == [("list", 5000)]
    made.events.add(record(8500))
    made.recommendations.complete_until(9000)
    assert taken(made) == [("list", 9000)]
    made.recommendations.complete_until(9500)
    assert taken(made) == [("event", 8500)]


def test_a_list_that_is_read_too_late_is_counted():
    made = buffer(events=[5000])
    made.recommendations.complete_until(6000)
    assert taken(made) == [("event", 5000)]
    made.recommendations.add(record(4900))
    made.events.complete_until(6000)
    assert taken(made) == [("list", 4900)]
    assert made.late == 1


def test_a_time_in_the_future_holds_nothing_up():
    made = JoinBuffer(WAIT_MS)
    made.events.add(record(10**13, read_ms=5000))
    made.recommendations.complete_until(6000)
    assert [event for event, _ in made.take()] == [True]
