"""What the worker publishes: recommendations, users' states and dead letters, as records."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from schemas.codec import Codec
from schemas.dead_letter import DeadLetterHeader
from schemas.recommendations import (
    Adaptation,
    Reason,
    ReasonKind,
    Recommendation,
    RecommendedItem,
)
from worker.catalogue import Catalogue
from worker.pipeline import Answers
from worker.rows import NO_ITEM
from worker.stages.decode import DeadLetter, header_list, position, record_time
from worker.stages.publish import OutgoingRecord

_FROM_START = Reason(kind=ReasonKind.START)
_DECIMALS = 6
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

    def records(self, answers: Answers) -> list[OutgoingRecord]:
        """Return one record for each event applied, keyed and placed as the event was."""
        messages = self.messages(answers)
        partitions = [answers.events.partitions[i] for i in answers.batch.source]
        return [
            OutgoingRecord(
                topic=self._topic,
                partition=partition,
                key=message.user_id.encode(),
                value=self._codec.encode(self._topic, message),
            )
            for message, partition in zip(messages, partitions, strict=True)
        ]

    def messages(self, answers: Answers) -> list[Recommendation]:
        """Return the answer to each event applied, in order."""
        events, batch = answers.events, answers.batch
        now = self._now_ms()
        lists = self._lists(answers)
        adaptations = _adaptations(answers)
        return [
            Recommendation(
                recommendation_id=recommendation_id(
                    events.event_ids[source], events.user_ids[source], self._model_version
                ),
                user_id=events.user_ids[source],
                items=items,
                events_seen=seen,
                caused_by=events.event_ids[source],
                adaptation=adaptation,
                model_version=self._model_version,
                variant=self._variant,
                event_time=events.times[source],
                produced_at=now,
            )
            for source, seen, items, adaptation in zip(
                batch.source.tolist(), batch.events_seen.tolist(), lists, adaptations, strict=True
            )
        ]

    def _lists(self, answers: Answers) -> list[list[RecommendedItem]]:
        ranked, item_ids = answers.ranked, self._catalogue.item_ids
        reasons = {
            row: Reason(kind=ReasonKind.SIMILAR_TO, item_id=item_ids[row])
            for row in np.unique(ranked.reasons).tolist()
            if row != NO_ITEM
        }
        scores = np.round(ranked.scores.astype(np.float64), _DECIMALS).tolist()
        return [
            [
                RecommendedItem(
                    item_id=item_ids[row], score=score, reason=reasons.get(reason, _FROM_START)
                )
                for row, score, reason in zip(*columns, strict=True)
                if row != NO_ITEM
            ]
            for columns in zip(ranked.rows.tolist(), scores, ranked.reasons.tolist(), strict=True)
        ]


def recommendation_id(event_id: str, user_id: str, model_version: str) -> str:
    """Return the id of the answer to an event: 32 hexadecimal digits, the same at every replay."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (event_id, user_id, model_version):
        encoded = part.encode()
        # The length sets the parts apart, whatever characters they hold.
        digest.update(len(encoded).to_bytes(4, "big"))
        digest.update(encoded)
    return digest.hexdigest()


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


def _adaptations(answers: Answers) -> list[Adaptation]:
    adapted = answers.adapted
    before, after = (
        np.round(loss.astype(np.float64), _DECIMALS).tolist()
        for loss in (adapted.loss_before, adapted.loss_after)
    )
    return [
        Adaptation(steps=1, support_loss_before=loss, support_loss_after=then)
        if stepped
        else Adaptation(steps=0)
        for stepped, loss, then in zip(adapted.stepped.tolist(), before, after, strict=True)
    ]
