"""What the worker publishes: recommendations, users' states and dead letters, as records."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np

from schemas.clickstream import EventType
from schemas.codec import Codec, JsonCodec
from schemas.dead_letter import DeadLetterHeader
from schemas.recommendations import (
    Adaptation,
    Reason,
    ReasonEvent,
    ReasonKind,
    Recommendation,
    RecommendedItem,
)
from worker.addressed import Addressed
from worker.byte_table import packed
from worker.catalogue import Catalogue
from worker.pipeline import Answers
from worker.recommendation_ids import recommendation_ids
from worker.recommendation_json import DECIMALS, RecommendationJson
from worker.recommendation_kernel import PROPENSITY_DECIMALS
from worker.rows import NO_ITEM
from worker.stages.decode import DeadLetter, header_list, position, record_time
from worker.stages.publish import OutgoingRecord, RecordColumns
from worker.stages.rank import Ranked

_FROM_START = Reason(kind=ReasonKind.START)
_REASON_EVENTS = [ReasonEvent(kind.value) for kind in EventType]
"""By row of `EVENT_TYPE_INDEX`."""
_DECODE_STAGE = "decode"


class RecommendationWriter:
    """Turns answers into records of `recommendations`.

    Args:
        codec: the wire format.
        topic: full name of the topic.
        catalogue: item ids by row.
        model_version: of the bundle.
        variant: label of the experiment's arm.
        now_ms: the clock, milliseconds since the epoch.
    """

    def __init__(
        self,
        *,
        codec: Codec,
        topic: str,
        catalogue: Catalogue,
        model_version: str,
        variant: str,
        now_ms: Callable[[], int],
    ) -> None:
        self._codec = codec
        self._topic = topic
        self._catalogue = catalogue
        self._model_version = model_version
        self._variant = variant
        self._now_ms = now_ms
        self._json = (
            RecommendationJson(catalogue.item_ids, model_version, variant)
            if isinstance(codec, JsonCodec)
            else None
        )

    def warm_up(self) -> None:
        """Compile what writes recommendations; to be called once the catalogue is read."""
        if self._json is not None:
            self._json.warm_up()

    def records(self, answers: Answers) -> RecordColumns:
        """Return a record for each list, keyed and placed as the event that it answers was."""
        to = answers.addressed()
        keys = [user_id.encode() for user_id in to.user_ids]
        return RecordColumns(
            self._topic,
            to.partitions,
            keys,
            self._written(answers.ranked, to, keys) or self._encoded(answers),
            [traces[-1].answered(traces[:-1]) if traces else None for traces in to.traces],
        )

    def _written(
        self, ranked: Ranked, to: Addressed, user_ids: Sequence[bytes]
    ) -> list[bytes] | None:
        """Return the messages as JSON; None if that is not asked for, or takes the codec."""
        if self._json is None or not user_ids:
            return None
        return self._json.encode(user_ids, ranked, to, produced_at=self._now_ms())

    def _encoded(self, answers: Answers) -> list[bytes]:
        encode = self._codec.encode
        return [encode(self._topic, message) for message in self.messages(answers)]

    def messages(self, answers: Answers) -> list[Recommendation]:
        """Return the message of each list, in order."""
        to, now = answers.addressed(), self._now_ms()
        ids = recommendation_ids(
            packed([event_id.encode() for event_id in to.event_ids]),
            packed([user_id.encode() for user_id in to.user_ids]),
            self._model_version,
        )
        lists = self._lists(answers.ranked)
        adaptations = _adaptations(to)
        seen, times = to.events_seen.tolist(), to.times.tolist()
        return [
            Recommendation(
                recommendation_id=recommendation_id.tobytes().hex(),
                user_id=to.user_ids[i],
                items=lists[i],
                events_seen=seen[i],
                caused_by=to.event_ids[i],
                also_caused_by=tuple(to.also[i]) if to.also else (),
                adaptation=adaptations[i],
                model_version=self._model_version,
                variant=self._variant,
                event_time=times[i],
                produced_at=now,
            )
            for i, recommendation_id in enumerate(ids)
        ]

    def _lists(self, ranked: Ranked) -> list[list[RecommendedItem]]:
        item_ids = self._catalogue.item_ids
        scores = np.round(ranked.scores.astype(np.float64), DECIMALS).tolist()
        columns = (ranked.rows.tolist(), scores, self._reasons(ranked), _propensities(ranked))
        return [
            [
                RecommendedItem(item_id=item_ids[row], score=score, reason=reason, propensity=p)
                for row, score, reason, p in zip(*of_list, strict=True)
                if row != NO_ITEM
            ]
            for of_list in zip(*columns, strict=True)
        ]

    def _reasons(self, ranked: Ranked) -> list[list[Reason]]:
        item_ids, types = self._catalogue.item_ids, ranked.reason_types
        kinds = np.full(ranked.reasons.shape, -1) if types is None else types.astype(np.int64)
        pairs = np.unique(np.stack([ranked.reasons, kinds]).reshape(2, -1), axis=1).T
        reasons = {
            (row, kind): Reason(
                kind=ReasonKind.SIMILAR_TO,
                item_id=item_ids[row],
                event_type=None if types is None else _REASON_EVENTS[kind],
            )
            for row, kind in pairs.tolist()
            if row != NO_ITEM
        }
        return [
            [reasons.get(pair, _FROM_START) for pair in zip(*of_list, strict=True)]
            for of_list in zip(ranked.reasons.tolist(), kinds.tolist(), strict=True)
        ]


def _propensities(ranked: Ranked) -> list[list[float | None]]:
    if ranked.propensities is None:
        return [[None] * ranked.rows.shape[1]] * len(ranked.rows)
    rounded = np.round(ranked.propensities, PROPENSITY_DECIMALS)
    least = 10.0**-PROPENSITY_DECIMALS
    written: list[list[float | None]] = np.maximum(rounded, least).tolist()
    return written


def dead_letter_record(letter: DeadLetter, topic: str) -> OutgoingRecord:
    """Return the record of the dead-letter topic: key, value and headers as they came, the reason.

    Its `without_value` is for a value larger than that topic takes: the headers then say how large
    it was and its SHA-256, and where the original stands, and the original's own are left out, too.
    """
    message = letter.message
    partition, offset = position(message)
    value: bytes | None = message.value()
    headers = {
        DeadLetterHeader.SOURCE_TOPIC: message.topic() or "",
        DeadLetterHeader.SOURCE_PARTITION: str(partition),
        DeadLetterHeader.SOURCE_OFFSET: str(offset),
        DeadLetterHeader.SOURCE_TIMESTAMP: str(record_time(message)),
        DeadLetterHeader.REASON: letter.reason.value,
        DeadLetterHeader.ERROR_CLASS: letter.error_class,
        DeadLetterHeader.MESSAGE: letter.text,
        DeadLetterHeader.STAGE: _DECODE_STAGE,
    }

    def without_value() -> OutgoingRecord:
        size, digest = len(value or b""), hashlib.sha256(value or b"").hexdigest()
        headers[DeadLetterHeader.MESSAGE] += (
            f"; {topic} takes no value of {size} bytes (SHA-256 {digest}), so it is left out here"
        )
        return OutgoingRecord(topic, partition, message.key(), None, _encoded(headers))

    own = [(name, content) for name, content in header_list(message) if name not in headers]
    return OutgoingRecord(
        topic,
        partition,
        message.key(),
        value,
        [*own, *_encoded(headers)],
        without_value if value else None,
    )


def _encoded(headers: dict[DeadLetterHeader, str]) -> list[tuple[str, str | bytes | None]]:
    return [(name.value, text.encode()) for name, text in headers.items()]


def _adaptations(to: Addressed) -> list[Adaptation]:
    before, after = (
        np.round(loss.astype(np.float64), DECIMALS).tolist()
        for loss in (to.loss_before, to.loss_after)
    )
    return [
        Adaptation(steps=1, support_loss_before=loss, support_loss_after=then)
        if stepped
        else Adaptation(steps=0)
        for stepped, loss, then in zip(to.stepped.tolist(), before, after, strict=True)
    ]
