from schemas.clickstream import ClickstreamEvent, EventType
from schemas.recommendations import (
    Adaptation,
    Reason,
    ReasonKind,
    Recommendation,
    RecommendedItem,
)
from worker.demo.storefront.guests import PREFIX
from worker.demo.visitors import Visitors

TITLES = {"a": "Apples", "b": "Bread", "c": "Cheese", "d": "Dates"}


def event(user: str, number: int, item: str) -> ClickstreamEvent:
    return ClickstreamEvent(
        event_id=f"{user}-{number}", user_id=user, type=EventType.PURCHASE, time=0, item_id=item
    )


def answer(user: str, number: int, *items: RecommendedItem) -> Recommendation:
    return Recommendation(
        recommendation_id=f"r-{user}-{number}",
        user_id=user,
        items=list(items),
        events_seen=number,
        caused_by=f"{user}-{number}",
        adaptation=Adaptation(steps=1, support_loss_before=2.0, support_loss_after=1.0),
        model_version="m",
        variant="default",
        event_time=0,
        produced_at=0,
    )


def item(item_id: str, because: str | None = None) -> RecommendedItem:
    kind = ReasonKind.START if because is None else ReasonKind.SIMILAR_TO
    return RecommendedItem(item_id=item_id, score=1.0, reason=Reason(kind=kind, item_id=because))


def test_an_event_answered_twice_counts_once() -> None:
    visitors = Visitors(TITLES)
    for number in (1, 2, 2):
        visitors.add_answer(answer("u", number))
    assert visitors.answered == 2
    assert visitors.repeated == 1


def test_the_example_says_what_was_taken_what_is_recommended_and_why() -> None:
    visitors = Visitors(TITLES)
    for number, taken in enumerate("abc", start=1):
        visitors.add_event(event("u", number, taken))
        visitors.add_answer(answer("u", number, item("d", taken), item("a"), item("unlisted")))
    example = visitors.example()
    assert example is not None
    assert example.events_seen == 3
    assert example.last_items == ("Apples", "Bread", "Cheese")
    assert example.recommended[0] == ("Dates", "goes with Cheese")
    assert example.recommended[1] == ("Apples", "a good start for anyone")
    assert example.recommended[2][0] == "unlisted"


def test_visitors_of_little_history_are_no_example() -> None:
    visitors = Visitors(TITLES)
    for number in (1, 2):
        visitors.add_event(event("u", number, "a"))
        visitors.add_answer(answer("u", number, item("b")))
    assert visitors.example() is None


def test_an_answer_that_is_behind_the_visitor_is_not_shown() -> None:
    visitors = Visitors(TITLES)
    for user in ("behind", "level"):
        for number in (1, 2, 3):
            visitors.add_event(event(user, number, "a"))
        visitors.add_answer(answer(user, 3, item("b")))
    visitors.add_event(event("behind", 4, "c"))
    example = visitors.example()
    assert example is not None
    assert example.events_seen == 3
    assert "Cheese" not in example.last_items


def test_memory_is_bounded() -> None:
    visitors = Visitors(TITLES)
    for user in range(1500):
        for number in (1, 2, 3):
            visitors.add_event(event(str(user), number, "a"))
    visitors.add_answer(answer("0", 3, item("b")))  # its events are forgotten by now
    assert visitors.example() is None
    visitors.add_answer(answer("1499", 3, item("b")))
    assert visitors.example() is not None


def test_users_of_the_page_are_counted_apart() -> None:
    visitors = Visitors(TITLES)
    guest = f"{PREFIX}1"
    for number, taken in enumerate("abc", start=1):
        visitors.add_event(event(guest, number, taken))
        visitors.add_answer(answer(guest, number, item("d", taken)))
    assert (visitors.guests, visitors.guests_events) == (1, 3)
    assert visitors.answered == 0
    assert visitors.example() is None
