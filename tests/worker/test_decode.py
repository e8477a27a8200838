"""Records that cannot be used: the reason, the original bytes, and the good ones unharmed."""

import json

import msgspec
import pytest
from worker_parts import NOW_MS, RECORD_MS, Worker, event, message

from schemas.dead_letter import DeadLetterHeader, DeadLetterReason

YEAR_9999_MS = 253_370_764_800_000
GOOD = msgspec.json.encode(event("u", 0))


def changed(**fields) -> bytes:
    return json.dumps({**json.loads(GOOD), **fields}).encode()


GARBAGE = [
    (None, b"u", "empty_value"),
    (b"", b"u", "empty_value"),
    (GOOD[: len(GOOD) // 2], b"u", "malformed"),
    (b"not json", b"u", "malformed"),
    (b'{"deep":' + b"[" * 5000, b"u", "malformed"),
    (b"[1, 2]", b"u", "invalid_field"),
    (b"null", b"u", "invalid_field"),
    (changed(time="yesterday"), b"u", "invalid_field"),
    (changed(time=-1), b"u", "invalid_field"),
    (changed(type="teleport"), b"u", "invalid_field"),
    (changed(item_id=None), b"u", "invalid_field"),
    (changed(user_id=""), b"", "invalid_field"),
    (changed(item_id=17), b"u", "invalid_field"),
    (GOOD.replace(b'"i1"', b'"i\xff"'), b"u", "invalid_utf8"),
    (b"\xfe\xff\x00", b"u", "invalid_utf8"),
    (GOOD, None, "key_mismatch"),
    (GOOD, b"", "key_mismatch"),
    (GOOD, b"somebody else", "key_mismatch"),
    (GOOD, b"\xff", "key_mismatch"),
    (changed(time=YEAR_9999_MS), b"u", "time_out_of_range"),
    (changed(surface="x" * 2_000_000), b"u", "too_large"),
]


@pytest.mark.parametrize(
    ("value", "key", "reason"), GARBAGE, ids=[f"{n}-{r}" for n, (_, _, r) in enumerate(GARBAGE)]
)
def test_garbage_goes_to_the_dead_letter_topic_as_it_came(value, key, reason):
    worker = Worker()
    worker.processor.process([message(value, key, offset=41, partition=3)])
    ((dead_key, dead_value, headers),) = worker.journal.dead_letters()
    assert (dead_key, dead_value) == (key, value)
    assert headers[DeadLetterHeader.REASON] == reason
    assert headers[DeadLetterHeader.SOURCE_TOPIC] == "clickstream"
    assert headers[DeadLetterHeader.SOURCE_PARTITION] == "3"
    assert headers[DeadLetterHeader.SOURCE_OFFSET] == "41"
    assert headers[DeadLetterHeader.SOURCE_TIMESTAMP] == str(RECORD_MS)
    assert headers[DeadLetterHeader.STAGE] == "decode"
    assert headers[DeadLetterHeader.MESSAGE]
    assert set(headers) == set(DeadLetterHeader)
    assert worker.sample("innerloop_dead_letters_total", reason=reason) == 1
    assert worker.sample("innerloop_records_total", outcome="dead_letter") == 1
    assert worker.journal.committed == {3: 42}
    assert len(worker.arena) == 0


def test_good_events_among_garbage_are_answered_as_without_it():
    good = [event("u", n, f"i{n}") for n in range(len(GARBAGE))]
    mixed, clean = Worker(), Worker()
    records = []
    for n, (value, key, _) in enumerate(GARBAGE):
        records.append(message(value, key, offset=2 * n))
        records.append(message(msgspec.json.encode(good[n]), b"u", offset=2 * n + 1))
    mixed.processor.process(records)
    clean.process(good)
    assert mixed.journal.recommendations() == clean.journal.recommendations()
    assert len(mixed.journal.dead_letters()) == len(GARBAGE)
    assert mixed.journal.committed == {0: 2 * len(GARBAGE)}


def test_the_reasons_here_are_all_there_are_but_the_registrys():
    covered = {reason for _, _, reason in GARBAGE}
    assert covered == set(DeadLetterReason) - {DeadLetterReason.UNKNOWN_SCHEMA}


def test_the_limits_themselves_are_allowed():
    worker = Worker()
    ahead_ms = worker.settings.max_future_seconds * 1000
    latest = msgspec.json.encode(event("u", 0, time=NOW_MS + ahead_ms))
    padding = worker.settings.max_event_bytes - len(changed(unknown=""))
    largest = changed(event_id="u-9", unknown="x" * (padding))
    worker.processor.process([message(latest, b"u", 0), message(largest, b"u", 1)])
    assert len(worker.journal.recommendations()) == 2
    assert worker.journal.dead_letters() == []


def test_a_dead_letter_message_holds_no_user_id():
    worker = Worker()
    secret = event("secret-person", 0)
    worker.processor.process([message(msgspec.json.encode(secret), b"other", 0)])
    assert "secret-person" not in str(worker.journal.dead_letters()[0][2])


def test_a_dead_letter_without_its_value_tells_where_the_original_is():
    worker = Worker()
    worker.processor.process([message(b"x" * 100_000, b"u", offset=7)])
    (record,) = worker.journal.records
    substitute = record.without_value()
    assert (substitute.key, substitute.value) == (b"u", None)
    headers = {name: value.decode() for name, value in substitute.headers}
    assert headers[DeadLetterHeader.SOURCE_OFFSET] == "7"
    assert "100000 bytes" in headers[DeadLetterHeader.MESSAGE]
    assert "SHA-256" in headers[DeadLetterHeader.MESSAGE]


def test_latency_is_taken_from_the_record_and_left_out_where_it_has_no_timestamp():
    worker = Worker()
    for offset, timestamp in enumerate((NOW_MS - 3000, -1)):
        value = msgspec.json.encode(event("u", offset))
        worker.processor.process([message(value, b"u", offset, timestamp=timestamp)])
    name = "innerloop_event_to_recommendation_seconds"
    assert worker.sample(f"{name}_sum") == 3.0
    assert worker.sample(f"{name}_count") == 1
