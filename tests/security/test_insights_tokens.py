"""Tokens of `innerloop insights`: kept, renewed in time, and one try at a time where refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest
from aiokafka.errors import AuthenticationFailedError
from tokens import TokenEndpoint, TokenSigner, serve_tokens

from worker.insights import oauth_tokens
from worker.insights.oauth_tokens import OidcClient, OidcTokens, TokenError

SECRET = "the secret of all clients"


class Clock:
    """Goes on when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenEndpoint]:
    signer = TokenSigner(tmp_path_factory.mktemp("keys"))
    with serve_tokens(signer, SECRET) as endpoint:
        yield endpoint


@pytest.fixture
def endpoint(served: TokenEndpoint) -> TokenEndpoint:
    served.secret, served.life_s, served.content = SECRET, 100, None
    served.asked.clear()
    return served


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens(endpoint: TokenEndpoint, clock: Clock) -> OidcTokens:
    return OidcTokens(OidcClient(endpoint.url, "insights", SECRET, "kafka read"), clock)


def test_a_token_is_kept_until_most_of_its_life_is_over(tokens, endpoint, clock):
    first = tokens.current()
    assert endpoint.asked == [{"grant_type": ["client_credentials"], "scope": ["kafka read"]}]
    clock.now += 79
    assert asyncio.run(tokens.token()) == first
    assert len(endpoint.asked) == 1
    clock.now += 2
    tokens.current()
    assert len(endpoint.asked) == 2


def test_where_no_life_is_told_each_connection_asks(tokens, endpoint):
    endpoint.life_s = None
    for number in (1, 2):
        assert tokens.current()
        assert len(endpoint.asked) == number


def test_an_endpoint_that_refuses_is_asked_ever_less_often(tokens, endpoint, clock, caplog):
    endpoint.secret = "another one"
    asked_at = []
    begin = clock.now
    while clock.now < begin + 300:  # a connection each second, and its neighbour
        for _ in range(2):
            with pytest.raises(TokenError, match=r"refuses: invalid_client.*sasl\.oauthbearer"):
                tokens.current()
        asked_at += [clock.now - begin] * (len(endpoint.asked) - len(asked_at))
        clock.now += 1
    assert asked_at[:6] == [0, 1, 3, 7, 15, 31]
    assert len(asked_at) == 14, "and then every 30 seconds"
    said = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(said) == 5, "once a minute"
    assert SECRET not in caplog.text
    endpoint.secret = SECRET
    clock.now += oauth_tokens._LONGEST_RETRY_S
    assert tokens.current()


def test_a_connection_waits_for_the_next_try(tokens, endpoint, clock, monkeypatch):
    waited = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    endpoint.secret = "another one"
    for _ in range(2):
        with pytest.raises(AuthenticationFailedError, match="invalid_client"):
            asyncio.run(tokens.token())
    assert waited == [0.0, oauth_tokens._FIRST_RETRY_S]


def test_a_token_is_good_for_its_life_though_no_other_is_given(tokens, endpoint, clock):
    first = tokens.current()
    endpoint.secret = "another one"
    for _ in range(19):
        clock.now += 5
        assert (tokens.current(), tokens.wait_s) == (first, 0.0)
    clock.now += 5.1
    with pytest.raises(TokenError, match="invalid_client"):
        tokens.current()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"access_token": 7}',
        b'{"access_token": ""}',
        b'{"access_token": "t\\u0001auth=Bearer other"}',
        b'{"access_token": "t", "expires_in": "soon"}',
        b'{"access_token": "t", "expires_in": [1]}',
        b'{"access_token": "t", "expires_in": 1e999}',
        b'{"error": 7}',
    ],
)
def test_what_is_no_token_is_told_so(tokens, endpoint, content):
    endpoint.content = content
    with pytest.raises(TokenError, match=r"the token endpoint http://127\.0\.0\.1"):
        tokens.current()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/token", "http://[/", "http://127.0.0.1:x/"])
def test_an_endpoint_that_is_none_is_told_so(url):
    with pytest.raises(TokenError, match="the token endpoint"):
        OidcTokens(OidcClient(url, "insights", SECRET)).current()
