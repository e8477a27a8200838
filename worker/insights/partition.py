"""One partition's share of the work: from records to users, outcomes and counts. Knows no Kafka."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field

from schemas.clickstream import SUPPORT_TYPES, ClickstreamEvent
from schemas.codec import DECODE_ERRORS
from schemas.insights import ALL_SURFACES, RecommendationOutcome
from schemas.privacy import RequestNote
from schemas.recommendations import Recommendation
from worker.insights.attribution import (
    AttributionRule,
    Credit,
    apply_event,
    apply_recommendation,
)
from worker.insights.incoming import Incoming, JoinBuffer, Source
from worker.insights.indicators import SumsTable
from worker.insights.sampling import UserSample
from worker.insights.trends import Decay, DecayedCounts
from worker.insights.user_record import UserRecord, day_variant
from worker.privacy.barred import FOR_EVER, NOT_BARRED


class Fate(enum.StrEnum):
    """What became of a record: exactly one of these."""

    APPLIED = "applied"
    REPLAYED = "replayed"
    """It is in the tables already: read again after a crash or a rebalance."""
    COPY = "copy"
    """Of one with the same id."""
    NO_CONSENT = "no_consent"
    ERASED = "erased"
    """It is the null value that erases a user, or of before a user's request to be erased."""
    NOT_SAMPLED = "not_sampled"
    INVALID = "invalid"
    """It cannot be decoded, or its key is not its user's."""
    FUTURE = "time_out_of_range"
    """Its time is later than its record's by more than `worker.max_future_seconds`."""


@dataclass(frozen=True)
class Rules:
    """What partitions have in common."""

    attribution: AttributionRule
    sample: UserSample
    decay: Decay
    most_surfaces: int
    max_future_ms: int
    event_of: Callable[[bytes], ClickstreamEvent]
    recommendation_of: Callable[[bytes], Recommendation]
    barred_until: Callable[[int, str], int] = lambda _, __: NOT_BARRED
    """By partition and user, the time up to which records must not be used:
    `worker.privacy.barred.Barred.until`."""


@dataclass(frozen=True)
class Erasure:
    """A user removed because a null value said so."""

    request: RequestNote | None
    """The privacy request; None where the null value names none."""
    removed: bool
    """Whether there was something of the user."""


@dataclass
class Work:
    """What one round of work brought, to be written before its records are acknowledged."""

    outcomes: list[RecommendationOutcome] = field(default_factory=list)
    users: dict[str, UserRecord] = field(default_factory=dict)
    """Those to be written."""
    surfaces: set[str] = field(default_factory=set)
    """Whose counts are to be written."""
    sources: list[Source] = field(default_factory=list)
    """To be acknowledged, each topic's in order."""
    events: Counter[Fate] = field(default_factory=Counter)
    recommendations: Counter[Fate] = field(default_factory=Counter)
    credits: Counter[Credit] = field(default_factory=Counter)
    erasures: list[Erasure] = field(default_factory=list)
    """To be told once the tables are written."""


class Partition:
    """The state of one partition of the source topics, and what is to be done with its records.

    Users are read from their table when a record of theirs comes, and are in `Work.users` whenever
    they are to be written. That is so for records that are in the tables already, too: a table on
    disk may be ahead of its changelog after a crash, and only writing the value again makes sure
    that the next owner has it.

    Args:
        number: of the partition.
        rules: the settings.
        load_user: returns a user of the table, None for a new one.
        counts: by surface, as they are in the table.
        totals: the sums of all users of the partition, as they are in the table.
        wait_ms: see `JoinBuffer`.
    """

    def __init__(
        self,
        number: int,
        rules: Rules,
        *,
        load_user: Callable[[str], UserRecord | None],
        counts: MutableMapping[str, DecayedCounts],
        totals: SumsTable,
        wait_ms: int,
    ) -> None:
        self.number = number
        self.buffer = JoinBuffer(wait_ms)
        self.counts = counts
        self.totals = totals
        self.clock_ms = 0
        """Latest time of an event or a recommendation."""
        self._rules = rules
        self._load_user = load_user

    def work(self) -> Work:
        """Apply what can be applied now. The totals are those after it."""
        work = Work()
        for _ in self.steps(work):
            pass
        return work

    def know(self, user: UserRecord) -> None:
        """Count a user of the table."""
        self._count(user, 1)
        self.clock_ms = max(self.clock_ms, user.newest)

    def forget_if_idle(self, user: UserRecord) -> bool:
        """Return whether a user of the table was idle for so long that nothing of it counts."""
        if user.newest >= self.clock_ms - self._rules.attribution.retention_ms:
            return False
        self._count(user, -1)
        return True

    def steps(self, work: Work) -> Iterator[None]:
        """Do the same one record at a time, so that others can have their turn in between."""
        for is_event, record in self.buffer.take():
            if is_event:
                work.events[self._event(record, work)] += 1
            else:
                work.recommendations[self._recommendation(record, work)] += 1
            work.sources.append(record.source)
            yield
        for user in work.users.values():
            self._count(user, 1)

    def _recommendation(self, record: Incoming, work: Work) -> Fate:
        if not self._rules.sample.includes(record.key):
            return Fate.NOT_SAMPLED
        if record.value is None:
            return self._erase(record, work)
        message, fate = self._usable_recommendation(record)
        if message is None:
            return fate
        user = self._user(message.user_id, work)
        if record.offset <= user.recommendations_offset:
            return Fate.REPLAYED
        user.recommendations_offset = record.offset
        self.clock_ms = max(self.clock_ms, message.event_time)
        added = apply_recommendation(user, message, self._rules.attribution)
        return Fate.APPLIED if added else Fate.COPY

    def _erase(self, record: Incoming, work: Work) -> Fate:
        """Forget a user; the record that is left is blank, and so is not kept."""
        try:
            user_id = record.key.decode()
        except UnicodeDecodeError:
            return Fate.INVALID
        user = self._user(user_id, work)
        # Told again where it is read again: the process may have ended before it was told.
        replayed = record.offset <= user.recommendations_offset
        work.erasures.append(Erasure(record.request, not (replayed or user.is_blank)))
        if replayed:
            return Fate.REPLAYED
        work.users[user_id] = UserRecord(
            self.number, user.events_offset, recommendations_offset=record.offset
        )
        return Fate.ERASED

    def _usable_recommendation(self, record: Incoming) -> tuple[Recommendation | None, Fate]:
        try:
            message = self._rules.recommendation_of(record.value or b"")
        except DECODE_ERRORS:
            return None, Fate.INVALID
        if message.user_id.encode() != record.key:
            return None, Fate.INVALID
        if message.event_time > record.record_ms + self._rules.max_future_ms:
            return None, Fate.FUTURE
        fate = self._barred(message.user_id, message.event_time, record)
        return (message, Fate.APPLIED) if fate is None else (None, fate)

    def _barred(self, user_id: str, time_ms: int, record: Incoming) -> Fate | None:
        until = self._rules.barred_until(self.number, user_id)
        if min(time_ms, record.record_ms) > until:
            return None
        return Fate.NO_CONSENT if until == FOR_EVER else Fate.ERASED

    def _event(self, record: Incoming, work: Work) -> Fate:
        event, fate = self._usable_event(record)
        if event is None:
            return fate
        rule = self._rules.attribution
        if event.type not in SUPPORT_TYPES and rule.leads_to(event.type) is None:
            return Fate.APPLIED
        user = self._user(event.user_id, work)
        replayed = record.offset <= user.events_offset
        if user.is_copy(event.event_id, record.offset):
            return Fate.COPY
        self._trend(event, record.offset, work)
        if replayed:
            return Fate.REPLAYED
        user.events_offset = record.offset
        self.clock_ms = max(self.clock_ms, event.time)
        outcome, credit = apply_event(user, event, rule)
        if outcome is not None:
            work.outcomes.append(outcome)
        if credit is not None:
            work.credits[credit] += 1
        return Fate.APPLIED

    def _usable_event(self, record: Incoming) -> tuple[ClickstreamEvent | None, Fate]:
        if not self._rules.sample.includes(record.key):
            return None, Fate.NOT_SAMPLED
        try:
            event = self._rules.event_of(record.value or b"")
        except DECODE_ERRORS:
            return None, Fate.INVALID
        if event.user_id.encode() != record.key:
            return None, Fate.INVALID
        if not event.consent:
            return None, Fate.NO_CONSENT
        if event.time > record.record_ms + self._rules.max_future_ms:
            return None, Fate.FUTURE
        fate = self._barred(event.user_id, event.time, record)
        return (event, Fate.APPLIED) if fate is None else (None, fate)

    def _trend(self, event: ClickstreamEvent, offset: int, work: Work) -> None:
        if event.item_id is None or event.type not in SUPPORT_TYPES:
            return
        for surface in {ALL_SURFACES, event.surface or ALL_SURFACES}:
            counts = self.counts.get(surface)
            if counts is None:
                if surface != ALL_SURFACES and len(self.counts) > self._rules.most_surfaces:
                    continue
                counts = self.counts[surface] = DecayedCounts()
            self._rules.decay.add(counts, event.item_id, event.time, offset)
            work.surfaces.add(surface)

    def _user(self, user_id: str, work: Work) -> UserRecord:
        user = work.users.get(user_id)
        if user is None:
            user = self._load_user(user_id) or UserRecord(partition=self.number)
            # What the user is counted for may change: it is counted anew at the end.
            self._count(user, -1)
            work.users[user_id] = user
        return user

    def _count(self, user: UserRecord, sign: int) -> None:
        for key, sums in user.days.items():
            self.totals.add(day_variant(key), sums, sign)
