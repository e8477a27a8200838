"""The latest recommendation of each user, and which of their events are answered."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from schemas.recommendations import Recommendation
from schemas.trace_context import TraceContext


@dataclass(frozen=True, slots=True)
class Received:
    """A recommendation, and when it was received.

    Attributes:
        recommendation: the message.
        received_at: by this machine's clock, epoch milliseconds.
        trace: that the record carries; None where the events answered are not traced.
    """

    recommendation: Recommendation
    received_at: int
    trace: TraceContext | None = None

    @property
    def latency_ms(self) -> int:
        """Milliseconds from the event, by the clock of who published it, to the receipt."""
        return self.received_at - self.recommendation.event_time


def answered_events(recommendation: Recommendation) -> tuple[str, ...]:
    """Return the ids of the events that a recommendation answers."""
    # A worker that answers several events of a user at once names the others here.
    others = getattr(recommendation, "also_caused_by", None) or ()
    return (recommendation.caused_by, *others)


@dataclass(slots=True)
class _User:
    latest: Received
    answers: OrderedDict[str, tuple[str, ...]] = field(default_factory=OrderedDict)
    """recommendation_id → events answered, newest last."""


class LatestRecommendations:
    """Keeps the latest recommendation of each user; bounded. Not safe for several threads.

    A copy, by `recommendation_id`, is dropped: a worker that restarts repeats answers, older ones
    than the latest among them.

    Args:
        users: most users; the one used longest ago is forgotten first.
        events_per_user: most answers of a user that are remembered by their ids.
    """

    def __init__(self, users: int, events_per_user: int) -> None:
        self._most_users = users
        self._most_answers = events_per_user
        self._users: OrderedDict[str, _User] = OrderedDict()

    def __len__(self) -> int:
        return len(self._users)

    def add(self, received: Received) -> bool:
        """Take a recommendation in; return False if it is a copy of one already there."""
        recommendation = received.recommendation
        user = self._users.get(recommendation.user_id)
        if user is None:
            user = self._users[recommendation.user_id] = _User(received)
            if len(self._users) > self._most_users:
                self._users.popitem(last=False)
        elif recommendation.recommendation_id in user.answers:
            return False
        self._users.move_to_end(recommendation.user_id)
        user.latest = received
        user.answers[recommendation.recommendation_id] = answered_events(recommendation)
        if len(user.answers) > self._most_answers:
            user.answers.popitem(last=False)
        return True

    def latest(self, user_id: str) -> Received | None:
        """Return a user's latest recommendation; None if there is none."""
        user = self._users.get(user_id)
        if user is None:
            return None
        self._users.move_to_end(user_id)
        return user.latest

    def since(self, user_id: str, event_id: str, event_time: int | None = None) -> Received | None:
        """Return a user's latest recommendation if it is as new as the event; else None.

        Args:
            user_id: whose.
            event_id: of the event.
            event_time: when it was; with it, an answer to any later event will do.
        """
        received = self.latest(user_id)
        if received is None:
            return None
        if event_time is not None and received.recommendation.event_time > event_time:
            return received
        answers = self._users[user_id].answers.values()
        return received if any(event_id in events for events in answers) else None

    def forget(self, user_id: str) -> None:
        """Remove a user."""
        self._users.pop(user_id, None)
