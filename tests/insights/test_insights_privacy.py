"""Who is erased is out of the tables of insights, and stays so; the others' numbers are as ever."""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import replace

import httpx
import msgspec
from confluent_kafka import Producer
from storefront import publish_events, publish_recommendations, traffic
from test_partition import CODEC, Tables, rules

from schemas.clickstream import ClickstreamEvent, EventType
from schemas.privacy import (
    AUDITED_BY_INSIGHTS,
    PrivacyAction,
    PrivacyAudit,
    PrivacyRequest,
    RequestNote,
)
from schemas.topics import InsightsTopic, Topic
from worker.insights.incoming import Incoming
from worker.insights.partition import Erasure, Fate
from worker.insights.user_record import decode_user
from worker.kafka_admin import create_topics
from worker.privacy.barred import Barred
from worker.privacy.records import PlacedRequest, note_of

PERSON, OTHER = "user-0-1", "user-0-2"


class NoMessage:
    def ack(self) -> None:
        pass


def record(
    offset: int, time_ms: int, user: str, value: bytes | None, request: RequestNote | None = None
) -> Incoming:
    return Incoming(offset, time_ms, 10**15, user.encode(), value, NoMessage(), request)


def event(user: str, time_ms: int) -> ClickstreamEvent:
    return ClickstreamEvent(
        event_id=uuid.uuid4().hex, user_id=user, type=EventType.VIEW, time=time_ms, item_id="item-1"
    )


def work_on(partition, events=(), lists=()):
    for side, records in (
        (partition.buffer.events, events),
        (partition.buffer.recommendations, lists),
    ):
        for one in records:
            side.add(one)
        side.complete_until(10**14)
    return partition.work()


def test_a_null_value_leaves_nothing_of_its_user_and_takes_nothing_from_the_sums_of_others():
    made = traffic(seed=3, number=600, users=5)
    barred = Barred()
    given = replace(rules(), barred_until=lambda _, user: barred.until_of(user))
    partition = Tables(made, given).partition()
    events = [record(n, e.time, e.user_id, CODEC.encode("t", e)) for n, e in enumerate(made.events)]
    lists = [
        record(n, r.event_time + 20, r.user_id, CODEC.encode("t", r))
        for n, r in enumerate(made.recommendations)
    ]
    before = work_on(partition, events, lists)
    assert not before.users[PERSON].is_blank
    # Loaded again from the table, as in the next round.
    partition._load_user = before.users.get
    newest = max(e.time for e in made.events)
    asked = newest + 1000
    barred.note(PERSON, PrivacyAction.ERASE, asked)
    note = RequestNote(
        request_id="r-1", action=PrivacyAction.ERASE, time=asked, partition=0, offset=7
    )
    tombstone = record(len(lists), asked + 500, PERSON, None, note)
    done = work_on(partition, lists=[tombstone])
    assert done.recommendations == {Fate.ERASED: 1}
    assert done.erasures == [Erasure(note, removed=True)]
    assert done.users[PERSON].is_blank
    alone = Tables(made, rules()).partition()
    for user in before.users.values():
        if user is not before.users[PERSON]:
            alone.know(user)
    assert totals(partition) == totals(alone)

    partition._load_user = lambda user: None if user == PERSON else before.users.get(user)
    again = work_on(partition, lists=[tombstone])
    assert again.erasures == [Erasure(note, removed=False)], "told again, for want of knowing"
    late = [event(PERSON, asked - 5000), event(PERSON, asked + 2000)]
    numbered = enumerate(late, start=len(events))
    after = work_on(
        partition, [record(n, asked + 2000, PERSON, CODEC.encode("t", e)) for n, e in numbered]
    )
    assert after.events == {Fate.ERASED: 1, Fate.APPLIED: 1}
    assert after.users[PERSON].latest == asked + 2000
    barred.note(PERSON, PrivacyAction.WITHDRAW_CONSENT, asked + 3000)
    value = CODEC.encode("t", event(PERSON, asked + 9000))
    last = work_on(partition, [record(len(events) + 2, asked + 9000, PERSON, value)])
    assert last.events == {Fate.NO_CONSENT: 1}


def totals(partition) -> dict:
    """The sums that are left, rounded: they were added and taken off in another order."""
    named = {
        (*key, *path): round(value, 4)
        for key, sums in partition.totals
        for path, value in leaves(msgspec.to_builtins(sums))
    }
    return {name: value for name, value in named.items() if value}


def leaves(value, path=()):
    if isinstance(value, dict | list):
        for name, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(one, (*path, name))
    else:
        yield path, value


def test_the_tables_and_their_changelog_forget_who_is_erased(
    insights_settings, insights_run, consume_all
):
    settings = insights_settings
    create_topics(settings, [Topic.PRIVACY, Topic.PRIVACY_AUDIT])
    made = traffic(seed=5, number=400, users=12)
    publish_recommendations(settings, made.recommendations)
    publish_events(settings, made.events)
    run = insights_run(settings)
    run.start()

    def users() -> dict:
        name = InsightsTopic.USERS
        latest = {m.key().decode(): m.value() for m in consume_all(settings, name)}
        return {user: value for user, value in latest.items() if value is not None}

    run.eventually(lambda: max(run.lags()) <= 3, "everything is committed")
    assert {PERSON, OTHER} <= users().keys()
    now = time.time_ns() // 1_000_000
    request = PrivacyRequest(request_id="r", user_id=PERSON, action=PrivacyAction.ERASE, time=now)
    producer = Producer(settings.kafka.producer_config())
    requests = settings.kafka.topic(Topic.PRIVACY)
    producer.produce(requests, key=PERSON, value=msgspec.json.encode(request))
    for _ in range(5):
        producer.produce(requests, key=PERSON, value=b'{"request_id": "r-2"')
    headers = [note_of(PlacedRequest(request, 1, 5, now))]
    lists = settings.kafka.topic(Topic.RECOMMENDATIONS)
    producer.produce(lists, key=PERSON, value=None, headers=headers)
    producer.produce(lists, key="nobody", value=None)
    assert producer.flush(60) == 0
    run.eventually(lambda: PERSON not in users(), "the user out of the changelog")
    publish_events(settings, [event(PERSON, now - 1000), event(OTHER, now)])
    run.eventually(lambda: decode_user(users()[OTHER]).latest == now, "the last event counted")
    run.eventually(lambda: max(run.lags()) <= 3, "everything is committed")
    assert PERSON not in users()
    run.eventually(lambda: consume_all(settings, Topic.PRIVACY_AUDIT), "an audit record")
    [told] = consume_all(settings, Topic.PRIVACY_AUDIT)
    audit = msgspec.json.decode(told.value(), type=PrivacyAudit)
    assert told.key() == b"r"
    assert (audit.part, audit.worker) == (AUDITED_BY_INSIGHTS, "insights-1")
    assert (audit.action, audit.requested_at) == (PrivacyAction.ERASE, now)
    assert (audit.partition, audit.offset) == (1, 5)
    assert (audit.states_removed, audit.tombstones) == (1, 1)
    assert audit.done_at >= now
    address = re.search(r"metrics at (http://\S+)", run.log)[1]
    counted = 'innerloop_insights_privacy_requests_total{action="%s",result="%s"} %d.0'

    def counts() -> set[str]:
        return set(httpx.get(address, timeout=60).text.splitlines())

    expected = {
        counted % case
        for case in (("erase", "done", 1), ("unknown", "done", 1), ("unknown", "invalid", 5))
    }
    run.eventually(lambda: expected <= counts(), "requests counted")
    assert run.log.count("a privacy request cannot be read") <= 5
    assert PERSON not in run.log
