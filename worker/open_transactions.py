"""How long records may be hidden by a transaction that is still open."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from schemas.errors import BrokerError

CHECK_EVERY_S = 5.0
MARGIN_S = 60.0
"""The brokers look for transactions that timed out every so often (10 s by default), and a restart
of theirs takes a while."""


class OpenTransactions:
    """Tells a transaction that takes its time from one that nobody will ever end.

    Brokers abort a transaction at its timeout, so what lies behind it can be read at last. But they
    may lose one: its coordinator takes it for over and no marker was written where its records are
    (a *hanging* transaction). Who waits for that waits for ever.

    Args:
        topic: full name.
        stable_end: by partition, the offset up to which committed records can be read.
        longest_s: the longest time that one may be open, seconds.
        now: a monotonic clock, seconds.
    """

    def __init__(
        self,
        topic: str,
        stable_end: Callable[[int], int],
        longest_s: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topic = topic
        self._stable_end = stable_end
        self._longest_s = longest_s
        self._now = now
        self._since: dict[int, tuple[int, float]] = {}
        self._checked: dict[int, float] = {}

    def waited_for(self, partition: int, target: int) -> None:
        """Take note that a partition is still not read to `target`.

        Raises:
            BrokerError: its stable end has not moved for longer than a transaction can be open.
        """
        now = self._now()
        if now - self._checked.get(partition, -math.inf) < CHECK_EVERY_S:
            return
        self._checked[partition] = now
        try:
            stable = self._stable_end(partition)
        except BrokerError:
            self._since.pop(partition, None)  # brokers that are away abort nothing meanwhile
            return
        offset, since = self._since.setdefault(partition, (stable, now))
        if stable != offset:
            self._since[partition] = (stable, now)
        elif stable < target and now - since > self._longest_s:
            raise BrokerError(
                f"{self._topic}-{partition} cannot be read past offset {stable}, up to {target}: a "
                f"transaction has been open there for more than {self._longest_s:g} s, longer than "
                "worker.transaction_timeout_ms lets it be. The brokers have lost it; find it with "
                "`kafka-transactions.sh find-hanging` and end it with `kafka-transactions.sh "
                "abort` (docs/worker.md)"
            )

    def forget(self, partition: int) -> None:
        """Forget a partition: it is not waited for any more."""
        self._since.pop(partition, None)
        self._checked.pop(partition, None)
