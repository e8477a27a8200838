"""What can become of a transaction that does not go through."""

from __future__ import annotations

from schemas.errors import BrokerError


class TransactionAbortableError(BrokerError):
    """The transaction must be aborted; the producer can begin another one."""


class TransactionLostError(BrokerError):
    """What the transaction held cannot be committed any more: its partitions are someone else's.

    Nothing of it is visible. Who holds the users' states in memory has to read them back.
    """


class FencedError(BrokerError):
    """The producer may write nothing more, for good."""
