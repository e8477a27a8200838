"""Limits of dead letters: a flood of them stops the worker, it does not drain the topic."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from confluent_kafka import Message

from schemas.errors import InnerloopError
from worker.stages.decode import DeadLetter, position


class DeadLetterFloodError(InnerloopError):
    """Too many records of `clickstream` are unusable: something is wrong with who publishes."""


class DeadLetterLimits:
    """Watches the share of unusable records among the latest, and runs of them.

    Until as many records as the window holds have been seen, those not seen count as usable.

    Args:
        window: latest records over which the share goes, of all partitions.
        ratio: the largest share allowed; 1 allows any.
        consecutive: so many in a row, in one partition, are too many.
    """

    def __init__(self, *, window: int, ratio: float, consecutive: int) -> None:
        self._latest: deque[bool] = deque(maxlen=window)
        self._ratio = ratio
        self._most = ratio * window
        self._consecutive = consecutive
        self._unusable = 0
        self._runs: dict[int, int] = {}

    def check(self, messages: Sequence[Message], dead_letters: Sequence[DeadLetter]) -> None:
        """Take up a micro-batch.

        Args:
            messages: all its records, in order.
            dead_letters: the unusable ones among them.

        Raises:
            DeadLetterFloodError: a limit is passed.
        """
        if not (dead_letters or self._unusable or self._runs):
            self._latest.extend([False] * min(len(messages), self._latest.maxlen or 0))
            return
        dead = {position(letter.message) for letter in dead_letters}
        for message in messages:
            where = position(message)
            self._take(where[0], where in dead, dead_letters)

    def _take(self, partition: int, unusable: bool, dead_letters: Sequence[DeadLetter]) -> None:
        if len(self._latest) == self._latest.maxlen:
            self._unusable -= self._latest[0]
        self._latest.append(unusable)
        self._unusable += unusable
        run = self._runs.pop(partition, 0) + 1
        if unusable:
            self._runs[partition] = run
            if run >= self._consecutive:
                raise _flood(
                    f"{run} in a row in partition {partition} (worker.dead_letter_consecutive)",
                    dead_letters,
                )
        if self._ratio < 1 and self._unusable > self._most:
            raise _flood(
                f"{self._unusable} of the latest {self._latest.maxlen} (worker.dead_letter_ratio "
                f"{self._ratio:g}, worker.dead_letter_window)",
                dead_letters,
            )


def _flood(what: str, dead_letters: Sequence[DeadLetter]) -> DeadLetterFloodError:
    reasons = Counter(letter.reason.value for letter in dead_letters).most_common()
    named = ", ".join(f"{count} {reason}" for reason, count in reasons)
    latest = dead_letters[-1]
    return DeadLetterFloodError(
        f"too many records of {latest.message.topic()} cannot be used: {what}. In this micro-batch:"
        f" {named}; such as: {latest.text}. None of it is committed. Mend what publishes them, or "
        "raise the limit to have them put on the dead-letter topic"
    )
