"""Records of the dead-letter topic, notes of replays, and which dead letters are meant."""

from datetime import UTC, datetime

import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from schemas.dead_letter import DeadLetterHeader, ReplayHeader
from worker.dead_letters.inspection import payload
from worker.dead_letters.records import (
    Selection,
    offsets_note,
    read_dead_letter,
    replayed_offsets,
)
from worker.outputs import dead_letter_record
from worker.stages.decode import DeadLetter


def record(headers=(), *, value=b"x", key=b"k", partition=1, offset=7, time=5_000) -> Message:
    return Message(
        topic="t",
        partition=partition,
        offset=offset,
        key=key,
        value=value,
        headers=list(headers) or None,
        timestamp=(1, time),
    )


def dead_letter(original: Message, reason="malformed", **where) -> Message:
    """The record that the worker would put on the topic, as read from there."""
    out = dead_letter_record(DeadLetter(original, _Reason(reason), "E", "why"), "t.dlq")
    return record(out.headers, value=out.value, key=out.key, **where)


class _Reason:
    def __init__(self, value: str) -> None:
        self.value = value


def test_key_value_and_headers_come_through_byte_for_byte():
    own = [("trace", b"\x00\xff"), ("empty", b""), ("trace", b"twice"), ("none", None)]
    letter = read_dead_letter(dead_letter(record(own, value=b"\x80", key=b"\x81"), offset=3))
    assert (letter.key, letter.value) == (b"\x81", b"\x80")
    assert list(letter.headers) == own
    assert (letter.partition, letter.offset, letter.source_partition) == (1, 3, 1)
    assert letter.about[DeadLetterHeader.SOURCE_OFFSET] == "7"
    assert not letter.failed_again and not letter.lost_its_value


def test_headers_of_an_earlier_dead_letter_are_not_kept_twice():
    replayed = [("trace", b"1"), (ReplayHeader.FROM.value, b"2/5")]
    letter = read_dead_letter(dead_letter(record(replayed)))
    assert list(letter.headers) == [("trace", b"1")]
    assert letter.failed_again


def test_a_value_that_was_left_out_is_told_from_one_that_was_never_there():
    gone = dead_letter_record(DeadLetter(record(), _Reason("malformed"), "E", "w"), "t.dlq")
    small = gone.without_value()
    assert read_dead_letter(record(small.headers, value=None)).lost_its_value
    empty = read_dead_letter(dead_letter(record(value=None), "empty_value"))
    assert empty.value is None and not empty.lost_its_value


@given(st.sets(st.integers(0, 200)))
def test_a_note_names_the_offsets(offsets):
    note = record(offsets_note(offsets), value=None, key=None)
    assert replayed_offsets(note) == offsets
    assert read_dead_letter(note) is None


def test_runs_are_written_short():
    assert offsets_note([9, 3, 4, 5, 7]) == [("innerloop.replayed.offsets", b"3-5,7,9")]


@pytest.mark.parametrize("content", [b"", b"x", b"1-", b"-4", b"3-x", b"\xff", None])
def test_notes_that_make_no_sense_name_nothing(content):
    headers = [(ReplayHeader.OFFSETS.value, content)]
    assert replayed_offsets(record(headers)) <= {1}


def test_a_record_of_someone_else_is_unknown_but_read():
    letter = read_dead_letter(record([("innerloop.source.partition", b"one")]))
    assert (letter.reason, letter.source_topic, letter.source_partition) == (
        "unknown",
        "unknown",
        None,
    )


def test_selections():
    letter = read_dead_letter(dead_letter(record(), time=5_000))
    at = datetime.fromtimestamp(5, UTC)
    for selection, held in [
        (Selection(), True),
        (Selection(reasons={"malformed"}), True),
        (Selection(reasons={"too_large"}), False),
        (Selection(partitions={0}), False),
        (Selection(partitions={1}, since=at), True),
        (Selection(until=at), False),
    ]:
        assert selection.holds(letter) is held, selection


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "(none)"),
        (b"", ""),
        (b'{"a": "\xc3\xa9"}', '{"a": "é"}'),
        (b"\x1b[31mred\n", r"\x1b[31mred\n"),
        (b"\xff\x00", "hex ff 00"),
        (b"a" * 50, "aaaaaaaa… (50 bytes)"),
    ],
)
def test_payloads_are_shown_without_doing_harm(value, shown):
    assert payload(value, most=20) == shown
