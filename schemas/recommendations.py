"""What the worker answers with: each event that it applied is named by one message."""

from __future__ import annotations

import enum

import msgspec

from schemas.clickstream import EpochMillis, Identifier


class ReasonKind(enum.StrEnum):
    """Why an item is on the list."""

    START = "start"
    """From the meta-learned starting point alone: nothing is known of the user yet."""
    SIMILAR_TO = "similar_to"
    """Closest, among the user's recent items, to the one named."""
    OTHER = "other"
    """A reason newer than the reader's schema: never written, read in place of an unknown one."""

    @classmethod
    def _missing_(cls, value: object) -> ReasonKind:
        # A subscriber must not lose a list for a word of explanation.
        return cls.OTHER


class ReasonEvent(enum.StrEnum):
    """What the user did with the item that is the reason."""

    VIEW = "view"
    CLICK = "click"
    ADD_TO_CART = "add_to_cart"
    PURCHASE = "purchase"
    REVIEW = "review"
    OTHER = "other"
    """Something newer than the reader's schema: never written, read in place of an unknown one."""

    @classmethod
    def _missing_(cls, value: object) -> ReasonEvent:
        return cls.OTHER


class Reason(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Why an item is recommended; `item_id` names the support event's item, if there is one."""

    kind: ReasonKind
    item_id: Identifier | None = None
    event_type: ReasonEvent | None = None
    """What the user last did with that item; only where the worker is set to say so
    (`policy.reason_types`)."""


class RecommendedItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An item, its score (the adapted query's inner product with it) and the reason."""

    item_id: Identifier
    score: float
    reason: Reason
    propensity: float | None = None
    """Probability with which the policy puts this item in this place, given the items above it;
    only where it explores (`policy.exploration`). The product over a list is the list's."""


class Adaptation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The inner-loop step that the event caused.

    The losses are the support loss on the event's own item before and after the step, in nats;
    both are null where no step was taken (`steps` 0).
    """

    steps: int
    """Gradient steps taken."""
    support_loss_before: float | None = None
    support_loss_after: float | None = None


class Recommendation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The adapted list of one user. Key of the `recommendations` topic: `user_id`.

    `recommendation_id` is a function of the event and the model version, so a replay after a crash
    repeats the id and a subscriber can drop the copy.
    """

    recommendation_id: Identifier
    user_id: Identifier
    items: list[RecommendedItem]
    """Best first, or in the order that the policy gives them."""
    events_seen: int
    """How many of the user's events are behind it, this one included."""
    caused_by: Identifier
    """`event_id` of the event that it answers."""
    also_caused_by: tuple[Identifier, ...] = ()
    """`event_id`s of earlier events of the user that it answers, too, oldest first; only where the
    worker is set to answer several at once (`worker.coalesce`, `worker.min_interval_ms`)."""
    adaptation: Adaptation
    model_version: str
    """The model bundle's version."""
    variant: str
    """Label of the experiment's arm, from the worker's settings."""
    event_time: EpochMillis
    """When the user acted."""
    produced_at: EpochMillis
    """When the worker had the answer."""
