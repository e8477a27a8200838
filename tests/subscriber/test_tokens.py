"""Tokens: only what was minted with a secret that is known, and only for a while."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.subscriber.tokens import TokenError, mint_token, read_token

SECRETS = {"web": "a secret of thirty-two characters", "app": "another one of as many characters"}


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128))
def test_a_token_says_who_may_read_and_until_when(user):
    grant = read_token(SECRETS, mint_token(SECRETS["app"], user, 60, "app"), 0)
    assert grant.user_id == user
    assert grant.expires > 60


def test_a_token_is_over_when_it_says():
    token = mint_token(SECRETS["web"], "u", 60)
    expires = read_token(SECRETS, token, 0).expires
    read_token(SECRETS, token, expires - 1)
    with pytest.raises(TokenError, match="over"):
        read_token(SECRETS, token, expires)


def test_whatever_is_altered_spoils_it():
    token = mint_token(SECRETS["web"], "u-7")
    for place in range(len(token)):
        for other in "A.z0":
            altered = token[:place] + other + token[place + 1 :]
            # The last character of base64url holds four bits of the signature, of its six.
            if altered != token:
                with pytest.raises(TokenError):
                    read_token(SECRETS, altered, 0)


def test_neither_another_secret_nor_an_unknown_name_nor_none_will_do():
    for token in (
        mint_token("x" * 32, "u"),
        mint_token(SECRETS["web"], "u", 60, "app"),
        mint_token("", "u", 60, "nobody"),
        mint_token(SECRETS["web"], "u", 60, "nobody"),
        mint_token(SECRETS["web"], "u") + "\n",
        "",
        "v1",
        "x" * 100_000,
    ):
        with pytest.raises(TokenError):
            read_token(SECRETS, token, 0)


def test_a_user_that_is_no_text_is_refused():
    from worker.subscriber.tokens import _signature

    raw = base64.urlsafe_b64encode(b"\xff\xfe\xfd").decode()
    signed = f"v1.web.99999999999.{raw}"
    with pytest.raises(TokenError, match="no text"):
        read_token(SECRETS, f"{signed}.{_signature(SECRETS['web'], signed)}", 0)
    with pytest.raises(TokenError, match="user_id"):
        mint_token(SECRETS["web"], "")
