"""What a subscriber sees: which events are answered, and one visitor to follow as an example."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.clickstream import ClickstreamEvent
from schemas.recommendations import ReasonKind, Recommendation, RecommendedItem
from worker.demo.storefront.guests import PREFIX

_VISITORS_KEPT = 1000
_ITEMS_KEPT = 8
_ITEMS_SHOWN = 4
_RECOMMENDATIONS_SHOWN = 5
_ENOUGH_EVENTS = 3
"""A visitor is worth showing from so many events on."""


@dataclass(frozen=True)
class Example:
    """One visitor, at one moment, in words."""

    events_seen: int
    last_items: tuple[str, ...]
    """Titles of what the visitor acted on, the latest last."""
    recommended: tuple[tuple[str, str], ...]
    """Title and reason of what is recommended now, the best first."""


@dataclass
class _Visitor:
    events: deque[ClickstreamEvent] = field(default_factory=lambda: deque(maxlen=_ITEMS_KEPT))
    answer: Recommendation | None = None

    @property
    def up_to_date(self) -> bool:
        """Whether the latest event is the one answered last."""
        answered = self.answer.caused_by if self.answer else None
        return bool(self.events) and self.events[-1].event_id == answered


class Visitors:
    """Takes in events and the recommendations that answer them.

    Args:
        titles: item id → title; an item without one is shown by its id.
    """

    def __init__(self, titles: Mapping[str, str]) -> None:
        self._titles = titles
        self._visitors: OrderedDict[str, _Visitor] = OrderedDict()
        self._answered: set[str] = set()
        self._guests: set[str] = set()
        self.repeated = 0
        """Answers to an event that had one already."""
        self.guests_events = 0
        """Events of users of the storefront's page, which count nowhere else."""

    @property
    def answered(self) -> int:
        """How many events have been answered; one answered twice counts once."""
        return len(self._answered)

    @property
    def guests(self) -> int:
        """Users of the storefront's page who have done something."""
        return len(self._guests)

    def add_event(self, event: ClickstreamEvent) -> None:
        """Note what a visitor did."""
        if event.user_id.startswith(PREFIX):
            self._guests.add(event.user_id)
            self.guests_events += 1
            return
        self._visitor(event.user_id).events.append(event)

    def add_answer(self, answer: Recommendation) -> None:
        """Note what a visitor was recommended."""
        if answer.user_id.startswith(PREFIX):
            return
        if answer.caused_by in self._answered:
            self.repeated += 1
        self._answered.add(answer.caused_by)
        self._visitor(answer.user_id).answer = answer

    def example(self) -> Example | None:
        """Return the visitor of some history who acted last; None if there is none yet."""
        for visitor in reversed(self._visitors.values()):
            answer = visitor.answer
            if answer and answer.events_seen >= _ENOUGH_EVENTS and visitor.up_to_date:
                return Example(
                    answer.events_seen,
                    tuple(map(self._describe, list(visitor.events)[-_ITEMS_SHOWN:])),
                    tuple(map(self._recommended, answer.items[:_RECOMMENDATIONS_SHOWN])),
                )
        return None

    def _visitor(self, user_id: str) -> _Visitor:
        visitor = self._visitors.setdefault(user_id, _Visitor())
        self._visitors.move_to_end(user_id)
        if len(self._visitors) > _VISITORS_KEPT:
            self._visitors.popitem(last=False)
        return visitor

    def _describe(self, event: ClickstreamEvent) -> str:
        return self._title(event.item_id) if event.item_id else f"“{event.query}”"

    def _recommended(self, item: RecommendedItem) -> tuple[str, str]:
        return self._title(item.item_id), self._reason(item)

    def _reason(self, item: RecommendedItem) -> str:
        if item.reason.kind is ReasonKind.SIMILAR_TO and item.reason.item_id is not None:
            return f"goes with {self._title(item.reason.item_id)}"
        if item.reason.kind is ReasonKind.START:
            return "a good start for anyone"
        return ""

    def _title(self, item_id: str) -> str:
        return self._titles.get(item_id) or item_id
