"""Events from loose fields: what is left out is made, what is wrong is named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from producer.event_factory import EventFactory
from schemas.clickstream import ClickstreamEvent, EventType
from schemas.errors import EventError
from schemas.pseudonyms import pseudonymiser
from schemas.settings import PrivacySettings, Settings

NOW = 1_763_800_000_000
FACTORY = EventFactory(Settings(), lambda: NOW)
VIEW = {"type": "view", "user_id": "u", "item_id": "i"}


def test_ids_and_times_are_made_where_they_are_not_given():
    one, other = FACTORY.make(VIEW), FACTORY.make(VIEW)
    assert one.time == other.time == NOW
    assert one.event_id != other.event_id
    assert len(one.event_id) == 32
    given = FACTORY.make({**VIEW, "event_id": "e", "time": NOW - 5})
    assert (given.event_id, given.time) == ("e", NOW - 5)


def test_what_is_given_arrives_as_it_is():
    fields = {
        "type": EventType.PURCHASE,
        "user_id": "ü",
        "item_id": "i",
        "price": Decimal("19.99"),
        "currency": "EUR",
        "quantity": 2,
        "session_id": None,
        "surface": "checkout",
        "recommendation_id": "r",
        "consent": False,
        "time": datetime(2025, 11, 22, 10, 0, 0, 123_000, tzinfo=timezone(timedelta(hours=2))),
        "event_id": "e",
    }
    assert FACTORY.make(fields) == ClickstreamEvent(
        event_id="e",
        user_id="ü",
        type=EventType.PURCHASE,
        time=round(datetime(2025, 11, 22, 8, tzinfo=UTC).timestamp()) * 1000 + 123,
        item_id="i",
        price=19.99,
        currency="EUR",
        quantity=2,
        surface="checkout",
        recommendation_id="r",
        consent=False,
    )


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"user_id": ""}, "user_id", "length >= 1"),
        ({"user_id": None}, "user_id", "missing required field"),
        ({"user_id": 7}, "user_id", "got `int`"),
        ({"user_id": "u" * 129}, "user_id", "length <= 128"),
        ({"item_id": None}, "item_id", "a view event needs the field `item_id`"),
        ({"type": "search"}, "query", "a search event needs the field `query`"),
        ({"type": "viewed"}, "type", "viewed"),
        ({"currency": "eur"}, "currency", r"ISO 4217 code\)"),
        ({"price": -1}, "price", "Price of one piece, in `currency`"),
        ({"price": float("nan")}, "price", ">= 0"),
        ({"price": Decimal("NaN")}, "price", ">= 0"),
        ({"rating": 6, "type": "review"}, "rating", "Stars given, 0 to 5"),
        ({"quantity": 1.5}, "quantity", "got `float`"),
        ({"consent": None}, "consent", "bool"),
        ({"consent": "yes"}, "consent", "bool"),
        ({"time": 1_763_800_000}, "time", "looks like seconds"),
        ({"time": datetime(2025, 11, 22)}, "time", "no time zone"),
        ({"time": -1}, "time", ">= 0"),
        ({"time": 2**63}, "time", "<= 9223372036854775807"),
        ({"time": NOW + 86_400_001}, "time", r"in the future.*worker\.max_future_seconds"),
        ({"surfce": "home"}, "surfce", r"did you mean surface\?"),
        ({"item_id": "half \ud83d of a pair"}, "item_id", "surrogate pair at character 5"),
    ],
)
def test_errors_begin_with_the_name_of_the_field(change, field, message):
    with pytest.raises(EventError, match=rf"(?s)^{field}: .*{message}") as caught:
        FACTORY.make({**VIEW, **change})
    assert caught.value.field == field


def test_unknown_fields_may_be_let_through():
    assert FACTORY.make({**VIEW, "surfce": "home"}, strict=False).item_id == "i"


def test_user_ids_are_hashed_under_the_key_of_the_settings():
    privacy = PrivacySettings(user_id_key="0123456789abcdef")
    hashed = EventFactory(Settings(privacy=privacy)).make(VIEW).user_id
    assert hashed == pseudonymiser(privacy)("u") != "u"


def test_what_workers_would_not_take_for_its_size_is_refused():
    assert FACTORY.check_size(b"x" * 65_536)
    with pytest.raises(EventError, match=r"65537 bytes.*worker\.max_event_bytes"):
        FACTORY.check_size(b"x" * 65_537)
