"""Fuzzed: whatever is asked of a gateway, it answers with what it documents, and goes on.

`FUZZ_EXAMPLES=2000 pytest tests/subscriber/test_gateway_fuzz.py` asks more.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest
from answers import answer, publish
from gateways import PATIENCE_S, SECRET, Gateway, gateway, gateway_settings, wait_until
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from schemas import http_head
from schemas.settings import Settings
from worker.kafka_admin import create_topics
from worker.subscriber.tokens import mint_token

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
FUZZED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
USER = "u"
TOKEN = mint_token(SECRET, USER)
DOCUMENTED = {200, 204, 304, 400, 401, 403, 404, 405, 429, 503}
HEAD_END = b"\r\n\r\n"
NO_HTTP = b"Invalid HTTP request received."


@dataclass
class Target:
    """A running gateway, and what it answered."""

    gateway: Gateway
    statuses: Counter[int] = field(default_factory=Counter)

    def ask(self, request: bytes) -> tuple[int, bytes, bytes]:
        """Send bytes; return the status, the head and, unless it is a stream, the body."""
        with socket.create_connection(("127.0.0.1", self.gateway.port), PATIENCE_S) as connection:
            got = b""
            # Refused before it was read to its end, it may be told by a reset.
            with suppress(ConnectionError):
                connection.sendall(request)
                while part := connection.recv(65536):
                    got += part
                    if b"text/event-stream" in got and HEAD_END in got:
                        break
            assert got or len(request) > 60_000, request
        head, whole, body = got.partition(HEAD_END)
        status = int(head.split(b" ", 2)[1]) if whole else 400
        self.statuses[status] += 1
        return (status, head.lower(), body) if whole else (400, b"", NO_HTTP)


@pytest.fixture(scope="module")
def target(embedded_broker) -> Iterator[Target]:
    base = Settings.model_validate(
        {
            "kafka": {
                "bootstrap_servers": embedded_broker.bootstrap_servers,
                "topic_prefix": f"gateway-fuzz-{os.getpid()}.",
            }
        }
    )
    create_topics(base)
    publish(base, answer(USER, "e-1", recommendation_id="r-1"))
    limits = {"longest_wait_seconds": 0.01, "heartbeat_seconds": 0.2}
    with (
        pytest.MonkeyPatch.context() as patch,
        gateway(gateway_settings(base, **limits)) as running,
    ):
        patch.setattr(http_head, "HEAD_S", PATIENCE_S)  # a slow machine is no slow client
        wait_until(
            lambda: running.get(running.path(USER)).status_code == 200, "the recommendation read"
        )
        target = Target(running)
        yield target
        print("answers by status:", dict(sorted(target.statuses.items())))
        assert {200, 400, 401} <= set(target.statuses)
        assert running.get(running.path(USER)).status_code == 200
        wait_until(lambda: running.sample("open_streams") == 0, "all places given back")


def check(status: int, head: bytes, body: bytes) -> None:
    assert status in DOCUMENTED, (status, head, body)
    if status >= 400:
        if b"application/problem+json" in head:
            assert not body or json.loads(body)["status"] == status  # none where HEAD asks
        else:  # of the server itself, or of a browser's question that no page of ours asks
            assert (status, body) in ((400, NO_HTTP), (400, b"Disallowed CORS Origin"))
        assert SECRET.encode() not in head + body
    if status == 200 and body and b"application/json" in head:
        json.loads(body)


# What a browser, or whoever means harm, may put in place of what is meant.
ODD = (
    """0 -1 nan NaN inf -inf 1e999 1_0 true null % %zz é ٣ \ud7ff\uffff r-1 e-1 * ../.. {} " a,b"""
)
TEXT = st.text(max_size=40) | st.sampled_from(["", "\0", "9" * 400, "a" * 129, *ODD.split()])
QUOTED = TEXT.map(lambda text: "".join(f"%{byte:02x}" for byte in text.encode()))
RAW = st.binary(max_size=30).map(lambda raw: re.sub(rb"[\r\n\0]", b"?", raw))
NAMES = st.sampled_from(["since_event", "wait_s", "token", "x"]) | QUOTED
OF_BODIES = [b"Content-Length", b"Transfer-Encoding", b"Expect"]
OTHERS = b"""Authorization If-None-Match Last-Event-ID Origin X-Forwarded-For Accept Upgrade Cookie
Range Accept-Encoding Traceparent"""
HEADERS = st.sampled_from(OF_BODIES + OTHERS.split())
ODD_VALUES = b"""Bearer "r-1" W/"r-1",* r-1 * chunked 0 -1 100-continue websocket h2c bytes=0-"""
VALUES = RAW | st.sampled_from([b"Bearer " + TOKEN.encode(), b"9" * 30, *ODD_VALUES.split()])


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Draw a request for something of the gateway."""
    user = draw(st.sampled_from([USER, USER, "v", "é"]) | QUOTED)
    suffix = draw(st.sampled_from(["", "", "/events", "/", "//", "/events/"]))
    query = draw(st.lists(st.tuples(NAMES, QUOTED), max_size=4))
    if draw(st.integers(0, 3)):
        query.append(("token", TOKEN))
    target = f"/v1/recommendations/{user}{suffix}"
    if query:
        target += "?" + "&".join(f"{name}={value}" for name, value in query)
    method = draw(st.sampled_from([b"GET"] * 8 + [b"HEAD", b"POST", b"OPTIONS", b"BREW"]))
    lines = [method + b" " + target.encode() + b" HTTP/1.1", b"Host: x", b"Connection: close"]
    headers = draw(st.lists(st.tuples(HEADERS, VALUES), max_size=3))
    # What makes the server wait for a body would wait for ever.
    lines += [
        name + b": " + value for name, value in headers if name not in OF_BODIES or method == b"GET"
    ]
    return b"\r\n".join(lines) + HEAD_END


def get(path: str, *headers: bytes) -> bytes:
    lines = [f"GET {path} HTTP/1.1".encode(), b"Host: x", b"Connection: close", *headers]
    return b"\r\n".join(lines) + HEAD_END


@FUZZED
@example(get(f"/v1/recommendations/u?token={TOKEN}&since_event=e&wait_s=nan"))
@example(get(f"/v1/recommendations/u?token={TOKEN}&since_event=e&wait_s=-nan"))
@example(get(f"/v1/recommendations/u?token={TOKEN}&since_event=e&wait_s=inf"))
@example(get(f"/v1/recommendations/u?token={TOKEN}&since_event=%00&wait_s=1e300"))
@example(get(f"/v1/recommendations/u/events?token={TOKEN}", b"Last-Event-ID: r-1\xff"))
@example(get(f"/v1/recommendations/u?token={TOKEN}", b'If-None-Match: "r-1\xe9", "r-1"'))
@example(get("/v1/recommendations/%ff%fe?token=%ff"))
@example(get(f"/v1/recommendations/{'u' * 20_000}?token={'t' * 20_000}"))
@given(requests())
def test_requests_that_are_nearly_right(target: Target, request_: bytes) -> None:
    check(*target.ask(request_))


@FUZZED
@given(
    st.binary(min_size=1, max_size=60),
    st.integers(0, 80),
    st.sampled_from([get(f"/v1/recommendations/u?token={TOKEN}"), get("/ready"), get("/health")]),
)
def test_bytes_that_are_hardly_http(target: Target, junk: bytes, place: int, whole: bytes) -> None:
    request = whole[:place] + junk + whole[place:]
    with socket.create_connection(("127.0.0.1", target.gateway.port), PATIENCE_S) as connection:
        got = b""
        with suppress(ConnectionError):
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            # An answer, or none where the request's end never came; and the connection's end.
            while part := connection.recv(65536):
                got += part
    if got:
        assert int(got.split(b" ", 2)[1]) in DOCUMENTED | {100, 408, 431, 501, 505}, got


def test_a_head_without_end_is_refused(target: Target) -> None:
    line = b"X-Long: " + b"x" * 1000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", target.gateway.port), PATIENCE_S) as connection:
        sent = 0
        with pytest.raises(ConnectionError):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
            while sent < 64 * 1024 * 1024:
                connection.sendall(line * 64)
                sent += len(line) * 64
    target.gateway.get("/health")


def test_a_head_that_does_not_come_is_not_waited_for(target: Target, monkeypatch) -> None:
    monkeypatch.setattr(http_head, "HEAD_S", 0.1)
    for begin in (b"", b"GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: "):
        with socket.create_connection(("127.0.0.1", target.gateway.port), PATIENCE_S) as connection:
            connection.sendall(begin)
            got = b""
            while part := connection.recv(65536):
                got += part
        assert got.startswith(b"HTTP/1.1 408 "), got
