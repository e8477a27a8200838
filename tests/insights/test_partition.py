"""However the topics are interleaved, and wherever the process dies, it says what a batch says."""

from __future__ import annotations

import random

import msgspec
import pytest
from storefront import traffic

from schemas.clickstream import ClickstreamEvent, EventType
from schemas.codec import JsonCodec
from schemas.insights import ALL_SURFACES
from schemas.recommendations import Recommendation
from worker.insights.attribution import AttributionRule
from worker.insights.incoming import Incoming
from worker.insights.indicators import SumsTable
from worker.insights.partition import Fate, Partition, Rules
from worker.insights.recompute import recompute
from worker.insights.sampling import UserSample
from worker.insights.trends import Decay, decode_counts, encode_counts
from worker.insights.user_record import decode_user, encode_user

CLICKS = frozenset({EventType.CLICK, EventType.VIEW})
HALF_LIFE_MS = 3_600_000
WAIT_MS = 60_000
CODEC = JsonCodec()
HOUR_MS = 3_600_000


def rules(rate: float = 1.0, kept: int = 100, window_ms: int = 24 * HOUR_MS) -> Rules:
    return Rules(
        attribution=AttributionRule(window_ms, kept, CLICKS, days=28),
        sample=UserSample(rate),
        decay=Decay(HALF_LIFE_MS, 1000),
        most_surfaces=10,
        max_future_ms=HOUR_MS,
        event_of=CODEC.decoder(ClickstreamEvent),
        recommendation_of=CODEC.decoder(Recommendation),
    )


class Message:
    def __init__(self, topic: str, offset: int, tables: Tables) -> None:
        self._place, self._tables = (topic, offset), tables

    def ack(self) -> None:
        topic, offset = self._place
        assert offset == self._tables.committed[topic], "acknowledged out of order"
        self._tables.committed[topic] = offset + 1


class Tables:
    """What survives: tables as a changelog leaves them, outcomes, and committed offsets."""

    def __init__(self, made, given: Rules) -> None:
        self.topics = {"events": made.events, "lists": made.recommendations}
        self.rules = given
        self.users: dict[str, bytes] = {}
        self.counts: dict[str, bytes] = {}
        self.outcomes: list = []
        self.committed = {"events": 0, "lists": 0}
        self.fates: dict[Fate, int] = {}

    def partition(self) -> Partition:
        partition = Partition(
            0,
            self.rules,
            load_user=lambda u: decode_user(self.users[u]) if u in self.users else None,
            counts={s: decode_counts(value) for s, value in self.counts.items()},
            totals=SumsTable(),
            wait_ms=WAIT_MS,
        )
        for value in self.users.values():
            partition.know(decode_user(value))
        return partition

    def record(self, topic: str, offset: int) -> Incoming:
        message = self.topics[topic][offset]
        time_ms = message.time if topic == "events" else message.event_time + 20
        return Incoming(
            offset,
            time_ms,
            10**15,
            message.user_id.encode(),
            CODEC.encode("t", message),
            Message(topic, offset, self),
        )

    def live(self, rng: random.Random, die_after: int | None) -> Partition:
        """Read to the end in chunks; or die after so many, in the midst of writing."""
        partition = self.partition()
        at = dict(self.committed)
        chunk = 0
        while any(at[topic] < len(records) for topic, records in self.topics.items()):
            for topic in rng.choice([["events"], ["lists"], ["events", "lists"]]):
                side = (
                    partition.buffer.events
                    if topic == "events"
                    else (partition.buffer.recommendations)
                )
                for _ in range(rng.randrange(40)):
                    if at[topic] < len(self.topics[topic]):
                        side.add(self.record(topic, at[topic]))
                        at[topic] += 1
            chunk += 1
            if self.write(partition, rng, die=chunk == die_after):
                return partition
        for side in (partition.buffer.events, partition.buffer.recommendations):
            side.complete_until(10**14)
        self.write(partition, rng, die=False)
        return partition

    def write(self, partition: Partition, rng: random.Random, *, die: bool) -> bool:
        work = partition.work()
        self.outcomes += work.outcomes
        writes = [(self.users, u, encode_user(r)) for u, r in work.users.items()]
        writes += [(self.counts, s, encode_counts(partition.counts[s])) for s in work.surfaces]
        if die:
            rng.shuffle(writes)  # users and counts have changelogs of their own
            writes = writes[: rng.randrange(len(writes) + 1)]
        for table, key, value in writes:
            table[key] = value
        for source in [] if die else work.sources:
            source.ack()
        for fate, count in (work.events + work.recommendations).items():
            self.fates[fate] = self.fates.get(fate, 0) + count
        return die


def batch(made, given: Rules):
    rule = given.attribution
    return recompute(
        made.events,
        made.recommendations,
        window_ms=rule.window_ms,
        days=rule.days,
        click_types=rule.click_types,
        half_life_ms=HALF_LIFE_MS,
        all_surfaces=ALL_SURFACES,
    )


def numbers(sums) -> dict:
    rows = {
        variant: {
            **msgspec.structs.asdict(row),
            "revenue": {
                c: (round(m.total, 6), round(m.squares, 4)) for c, m in row.revenue.items()
            },
        }
        for variant, row in sums.items()
    }
    return {v: {**row, "revenue": dict(sorted(row["revenue"].items()))} for v, row in rows.items()}


def check(tables: Tables, partition: Partition, made) -> None:
    expected = batch(made, tables.rules)
    outcomes = {o.event_id: (o.recommendation_id, o.revenue) for o in tables.outcomes}
    assert outcomes == expected.credited
    assert numbers(partition.totals.by_variant(28)) == numbers(expected.sums)
    assert numbers(tables.partition().totals.by_variant(28)) == numbers(expected.sums)
    for surface, counts in expected.trending.items():
        held = partition.counts[surface]
        assert tables.rules.decay.at(held, held.latest) == pytest.approx(counts, rel=1e-9)
        assert tables.counts[surface] == encode_counts(held)


@pytest.mark.parametrize("seed", range(6))
def test_the_interleaving_of_the_topics_changes_nothing(seed):
    made = traffic(seed, 1500, users=25)
    tables = Tables(made, rules())
    check(tables, tables.live(random.Random(seed), None), made)
    assert len(tables.outcomes) > 200


@pytest.mark.parametrize("seed", range(12))
def test_dying_in_the_midst_of_writing_changes_nothing(seed):
    made = traffic(seed + 100, 1500, users=25)
    tables = Tables(made, rules())
    rng = random.Random(seed)
    for _ in range(5):
        tables.live(rng, rng.randrange(1, 15))
    check(tables, tables.live(rng, None), made)
    assert tables.fates[Fate.REPLAYED] > 0


def test_a_sample_says_what_a_batch_over_its_users_says():
    made = traffic(7, 2500, users=80)
    given = rules(rate=0.3)
    tables = Tables(made, given)
    partition = tables.live(random.Random(1), None)
    sampled = given.sample.includes
    made.events = [e for e in made.events if sampled(e.user_id.encode())]
    made.recommendations = [r for r in made.recommendations if sampled(r.user_id.encode())]
    check(tables, partition, made)


def test_surfaces_are_bounded_and_all_of_them_together_count_everything():
    made = traffic(8, 400)
    made.events = [
        msgspec.structs.replace(e, surface=f"surface-{n}") for n, e in enumerate(made.events)
    ]
    tables = Tables(made, rules())
    partition = tables.live(random.Random(1), None)
    assert len(partition.counts) <= 11
    expected = batch(made, tables.rules).trending[ALL_SURFACES]
    held = partition.counts[ALL_SURFACES]
    assert tables.rules.decay.at(held, held.latest) == pytest.approx(expected)


def test_users_who_do_not_come_back_count_no_more():
    made = traffic(9, 200, users=5)
    tables = Tables(made, rules(window_ms=HOUR_MS))
    partition = tables.live(random.Random(1), None)
    users = [decode_user(value) for value in tables.users.values()]
    assert not any(partition.forget_if_idle(user) for user in users)
    partition.clock_ms += 40 * 24 * HOUR_MS
    assert all(partition.forget_if_idle(user) for user in users)
    assert all(row.recommendations == 0 for _, row in partition.totals)


@pytest.mark.parametrize(
    ("change", "fate"),
    [
        ({"value": b"{"}, Fate.INVALID),
        ({"value": b""}, Fate.INVALID),
        ({"key": b"someone-else"}, Fate.INVALID),
        ({"record_ms": 5}, Fate.FUTURE),
    ],
)
def test_what_cannot_be_used_is_left_out_and_counted(change, fate):
    tables = Tables(traffic(10, 5), rules())
    partition = tables.partition()
    for topic, side in (
        ("events", partition.buffer.events),
        ("lists", partition.buffer.recommendations),
    ):
        good = tables.record(topic, 0)
        fields = {name: getattr(good, name) for name in Incoming.__slots__}
        side.add(Incoming(**{**fields, **change}))
        side.complete_until(10**14)
    work = partition.work()
    assert (work.events, work.recommendations) == ({fate: 1}, {fate: 1})
    assert not work.users
    assert len(work.sources) == 2
