"""The values that labels of the worker's metrics take: few and known, no id among them."""

from __future__ import annotations

import enum


class Stage(enum.StrEnum):
    """The stages of a micro-batch, in order."""

    POLL = "poll"
    DECODE = "decode"
    FOLD = "fold"
    ENCODE = "encode"
    ADAPT = "adapt"
    RANK = "rank"
    PUBLISH = "publish"
    COMMIT = "commit"


class Outcome(enum.StrEnum):
    """What became of a record of `clickstream`: exactly one of these."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    ALREADY_APPLIED = "already_applied"
    NO_CONSENT = "no_consent"
    """The event says so, or its user has withdrawn consent."""
    ERASED = "erased"
    """Of before its user's request to be erased."""
    DEAD_LETTER = "dead_letter"


class PrivacyResult(enum.StrEnum):
    """What became of a privacy request."""

    DONE = "done"
    INVALID = "invalid"
    """It cannot be read."""


UNKNOWN_ACTION = "unknown"
"""In place of the `PrivacyAction` of a request that cannot be read."""


class NoStep(enum.StrEnum):
    """Why an applied event took no inner-loop step."""

    UNKNOWN_ITEM = "unknown_item"
    NO_EVIDENCE = "no_evidence"
    NOT_FINITE = "not_finite"


class CatalogueChange(enum.StrEnum):
    """What a record of `catalog` did."""

    ADDED = "added"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REMOVED = "removed"
    INVALID = "invalid"


class RestoredState(enum.StrEnum):
    """What became of a record of `user-state` read at start or take-over."""

    RESTORED = "restored"
    ADAPTED_AGAIN = "adapted_again"
    ERASED = "erased"
    INVALID = "invalid"


class RestoreSource(enum.StrEnum):
    """Whence the users of an assigned partition came."""

    CHANGELOG = "changelog"
    SNAPSHOT = "snapshot"


class UserMove(enum.StrEnum):
    """How a user's state moved between the arena and the store, or went away."""

    EVICTED = "evicted"
    RETURNED = "returned"
    FORGOTTEN = "forgotten"


class TransitionSource(enum.StrEnum):
    """Whence the item memory learned a transition."""

    OWN = "own"
    FOLLOWED = "followed"
    RESTORED = "restored"


class TransitionDrop(enum.StrEnum):
    """Why the item memory did not learn a transition."""

    KNOWN = "known"
    IN_BUNDLE = "in_bundle"
    UNKNOWN_ITEM = "unknown_item"
    TIME_OUT_OF_RANGE = "time_out_of_range"


class TransitionRecord(enum.StrEnum):
    """What a record of `item-transitions` brought."""

    NEW = "new"
    KNOWN = "known"
    MALFORMED = "malformed"
    OTHER_VERSION = "other_version"
    INCONSISTENT = "inconsistent"


class Rebalance(enum.StrEnum):
    """How partitions came or went."""

    ASSIGNED = "assigned"
    REVOKED = "revoked"
    LOST = "lost"


class TransactionEnd(enum.StrEnum):
    """How a transaction ended."""

    COMMITTED = "committed"
    ABORTED = "aborted"


class TracedRecord(enum.StrEnum):
    """What tracing made of a record of `clickstream`."""

    TRACED = "traced"
    LIMITED = "limited"
    """It is one too many for its second."""
    MALFORMED = "malformed"
    """Its `traceparent` is none."""


class SpanFate(enum.StrEnum):
    """What became of a span."""

    SENT = "sent"
    FAILED = "failed"
    """It could not be sent."""
    DROPPED = "dropped"
    """Too many were waiting."""


class Variant(enum.StrEnum):
    """Which of two models."""

    PRIMARY = "primary"
    CANDIDATE = "candidate"


class RolloutResult(enum.StrEnum):
    """What became of a plan of which models to serve."""

    TAKEN = "taken"
    REFUSED = "refused"
    SUPERSEDED = "superseded"


class ItemAvailability(enum.StrEnum):
    """Whether items may be recommended."""

    AVAILABLE = "available"
    UNAVAILABLE = "unavailable"


OPEN_LABELS = {
    "partition": "a partition of `clickstream`",
    "version": "the bundle's version",
    "device": "cpu or cuda",
    "variant": "setting worker.variant, or the label of a model that is tried",
}
"""Labels whose values are not an enumeration here, and what bounds them."""
