"""Which of librdkafka's errors are the brokers saying no, for good, and what a person can do.

librdkafka takes all of them for passing: it connects again and again, dozens of times a second when
TLS fails, until whoever uses it gives up.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Protocol

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import ClusterMetadata

_FIRST_TRY_S = 0.05

_AUTHENTICATION = frozenset({KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED})
AUTHORIZATION = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
"""An access control entry is missing."""

# What OpenSSL says of a peer that refuses, or is refused. A connection that breaks off in the
# middle of a handshake is none of it: the broker may just be stopping.
_TLS = ("certificate", "SSL alert", "wrong version number", "unsupported protocol", "no shared")

_CREDENTIALS_HINT = "see sasl.mechanism, sasl.username and sasl.password in kafka.properties"
_TOKEN_HINT = "see sasl.oauthbearer.… in kafka.properties"
_TLS_HINT = (
    "TLS is refused: a certificate has expired, or is not of an authority that the other side "
    "trusts; see ssl.ca.location, ssl.certificate.location and ssl.key.location in kafka.properties"
)
_ACCESS_HINT = "an access control entry is missing; `innerloop topics acls` says who needs which"
_GROUP_HINT = (
    "an access control entry is missing for the group, see worker.group_id, insights.group_id and "
    "sink.group_id; `innerloop topics acls` says who needs which"
)


class _Client(Protocol):
    def list_topics(self, topic: str | None = None, timeout: float = -1) -> ClusterMetadata: ...

    def poll(self, timeout: float) -> object: ...


def is_refusal(error: KafkaError) -> bool:
    """Tell whether trying again cannot help: wrong credentials or certificates, or no access."""
    return error.code() in _AUTHENTICATION | AUTHORIZATION or _is_tls(error)


def told(error: KafkaError) -> str:
    """Return an error in words, with the settings to look at if the brokers refuse."""
    hint = _hint(error)
    return f"{error.str()} ({hint})" if hint else error.str()


def ask_for_topics(
    client: _Client, timeout_s: float, errors: Iterable[KafkaError]
) -> ClusterMetadata:
    """Ask brokers what topics there are; give up at once when they refuse.

    Args:
        client: asked; it hands its errors over in `poll`.
        timeout_s: how long brokers have to answer, seconds.
        errors: where the client's `error_cb` puts what it is told.

    Raises:
        KafkaException: no broker answers in time, or one refuses.
    """
    deadline = time.monotonic() + timeout_s
    try_s = _FIRST_TRY_S
    while True:
        left_s = deadline - time.monotonic()
        try:
            return client.list_topics(timeout=max(min(try_s, left_s), _FIRST_TRY_S))
        except KafkaException:
            client.poll(0)
            refusal = next(filter(is_refusal, errors), None)
            if refusal is not None:
                raise KafkaException(refusal) from None
            if time.monotonic() >= deadline:
                raise
        try_s *= 2  # a slow broker gets its time


def _is_tls(error: KafkaError) -> bool:
    text = error.str()
    return "SSL" in text and any(words in text for words in _TLS)


def _hint(error: KafkaError) -> str:
    if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
        return _GROUP_HINT
    if error.code() in AUTHORIZATION:
        return _ACCESS_HINT
    if error.code() in _AUTHENTICATION:
        return _TOKEN_HINT if "OAUTHBEARER" in error.str() else _CREDENTIALS_HINT
    return _TLS_HINT if _is_tls(error) else ""
