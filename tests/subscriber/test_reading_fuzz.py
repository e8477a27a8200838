"""Fuzzed: any bytes in `recommendations` are a message or are passed over, and shown in order.

What `innerloop tail`, the gateway and the client read goes through `RecommendationReader`.
`FUZZ_EXAMPLES=5000 pytest tests/subscriber/test_reading_fuzz.py` reads more.
"""

from __future__ import annotations

import copy
import io
import json
import logging
import math
import os
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from answers import answer
from confluent_kafka import Message
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from schemas.codec import build_codec
from schemas.recommendations import Recommendation
from schemas.settings import Settings
from worker.cli.tail import _Pretty
from worker.subscriber import reading
from worker.subscriber.gateway.messages import event, message_id
from worker.subscriber.latest import LatestRecommendations, Received
from worker.subscriber.reading import RecommendationReader

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "300"))
FUZZED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
TOPIC = "recommendations"
DEEP = 200_000
CONTROL = "\x1b]0;title\x07\x9b2J\u202e\n\r\0"


class Titles:
    """Titles as odd as ids."""

    def of(self, item_id: str) -> str | None:
        return f"{item_id[::-1]}{CONTROL}"


class Follower:
    """In place of the topic: gives what it was told to."""

    def __init__(self, *_: object) -> None:
        self.waiting: list[Message] = []
        self.caught_up = True

    def read(self, most: int, wait_s: float) -> list[Message]:
        found, self.waiting = self.waiting, []
        return found

    def close(self) -> None:
        pass


class Reading:
    """Reads values in one wire format, and does with them what is done."""

    def __init__(self, settings: Settings) -> None:
        self._reader = RecommendationReader(settings)
        self._latest = LatestRecommendations(users=10, events_per_user=3)
        self._codec = build_codec(settings.wire)
        self.read_as_messages = 0

    def encoded(self, message: Recommendation) -> bytes:
        return self._codec.encode(TOPIC, message)

    def __call__(self, value: bytes | None, key: bytes | None = b"u") -> None:
        unreadable = self._reader.unreadable
        self._reader._follower.waiting = [Message(topic=TOPIC, key=key, value=value)]
        found = list(self._reader.read(0.0, _never))
        if value is None:
            assert all(isinstance(each, str) for each in found)
            return
        assert len(found) + self._reader.unreadable - unreadable == 1
        for each in found:
            self.read_as_messages += 1
            self._use(each)

    def _use(self, received: Received) -> None:
        self._latest.add(received)
        assert message_id(received).isascii() and message_id(received).isprintable()
        sent = event(received, Titles())
        assert sent.endswith(b"\n\n") and len(sent.splitlines()) == 4 and b"\r" not in sent
        json.loads(sent.splitlines()[2].removeprefix(b"data: "))
        for table in (False, True):
            screen = io.StringIO()
            console = Console(file=screen, width=100, soft_wrap=True, highlight=False)
            _Pretty(console, items=3, table=table, titles=Titles()).show(received)
            lines = screen.getvalue().split("\n")
            assert table or len(lines) == 2
            assert all(line.isprintable() for line in lines), lines


def _never(_: float) -> bool:
    raise AssertionError("no registry is to be asked again because of a record")


@pytest.fixture(scope="module", params=["json", "avro"])
def read(request: pytest.FixtureRequest) -> Iterator[Reading]:
    wire = {"format": request.param, "registry_url": "mock://reading-fuzz"}
    logging.getLogger(reading.__name__).setLevel(logging.CRITICAL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "TopicFollower", Follower)
        reads = Reading(Settings.model_validate({"wire": wire}))
        yield reads
    logging.getLogger(reading.__name__).setLevel(logging.NOTSET)


ODD = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    ODD | st.sampled_from(["", CONTROL, "x" * 129, "\ud7ff", "[red]", 2**63, -1]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=5,
)


def whole(**changes: Any) -> Recommendation:
    return answer("u", "e-1", recommendation_id="r-1", **changes)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    members = value.items() if isinstance(value, dict) else ()
    members = enumerate(value) if isinstance(value, list) else members
    for key, member in members:
        found += places(member, (*path, key))
    return found


@st.composite
def nearly_right(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a message with one to three of its parts replaced, and perhaps one added."""
    value = msgspec.to_builtins(whole())
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from(places(value)))
        value = copy.deepcopy(value)
        inner = value
        for step in path:
            inner = inner[step]
        inner[last] = draw(JSON)
    if draw(st.booleans()):
        value[draw(st.text(max_size=9))] = draw(JSON)
    return value


@FUZZED
@given(nearly_right())
def test_messages_that_are_nearly_right(read: Reading, value: dict[str, Any]) -> None:
    read(json.dumps(value).encode())


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128)
TEXTS |= st.sampled_from([CONTROL, "[/]", "[link=x]", "\u2028"])


@FUZZED
@given(TEXTS, TEXTS, st.integers(0, 2**63 - 1), st.floats())
def test_whatever_a_message_may_hold_is_shown(read: Reading, user, item, time_ms, score) -> None:
    found = msgspec.structs.replace(
        whole(items=[item]), user_id=user, recommendation_id=item, event_time=time_ms, variant=user
    )
    listed = [msgspec.structs.replace(found.items[0], score=score)]
    before = read.read_as_messages
    read(read.encoded(msgspec.structs.replace(found, items=listed)))
    assert read.read_as_messages == before + 1 or not math.isfinite(score)  # JSON has no such


@FUZZED
@example(0, 0, b"[" * DEEP)
@example(0, 0, b'{"a":' * DEEP)
@example(1, 0, b'"x":' + b"[" * DEEP + b"]" * DEEP + b",")
@example(1, 0, b'"x":"' + b"x" * 20_000_000 + b'",')
@example(5, 0, b"\xff" * 9 + b"\x01")
@example(0, 0, b"\x00\x7f\xff\xff\xff")
@example(0, 0, b"\x00\x00")
@given(st.integers(0, 400), st.integers(0, 30), st.binary(max_size=40))
def test_bytes_that_are_damaged(read: Reading, start: int, cut: int, junk: bytes) -> None:
    value = read.encoded(whole())
    read(value[:start] + junk + value[start + cut :])


@FUZZED
@given(st.none() | st.binary(max_size=200), st.none() | st.binary(max_size=20))
def test_bytes_that_are_anything(read: Reading, value: bytes | None, key: bytes | None) -> None:
    read(value, key)
