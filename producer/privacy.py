"""Consent and erasure requests: what a user asks for about their own data, published for good.

from producer import PrivacyRequests

with PrivacyRequests() as requests:
    request_id = requests.erase("u-7")
"""

from __future__ import annotations

import concurrent.futures
import time
import uuid
from types import TracebackType
from typing import Self

import msgspec
from confluent_kafka import KafkaError, Message

from producer.outbox import Outbox
from producer.tracker import tracker_settings
from schemas.errors import BrokerError, EventError
from schemas.privacy import PrivacyAction, PrivacyRequest
from schemas.pseudonyms import all_pseudonyms
from schemas.settings import Settings
from schemas.topics import Topic

_POLL_S = 0.05


class PrivacyRequests:
    """Publishes requests to `privacy`; each method returns when the brokers have the request.

    A request goes out under every id that the user may have been published under: the pseudonyms
    by the settings privacy.user_id_key and privacy.previous_user_id_keys, a record for each, all
    with the same request id. Safe to use from several threads.

    Args:
        settings: brokers, wire format, privacy; None reads them as every command does.
        bootstrap_servers: brokers, in place of those of the settings read.
        wait_s: how long the brokers have to acknowledge a request, seconds.

    Raises:
        SettingsError: a setting is wrong.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        bootstrap_servers: str | None = None,
        wait_s: float = 30.0,
    ) -> None:
        settings = self._settings = tracker_settings(settings, bootstrap_servers)
        self._wait_s = wait_s
        # A request that was reported as failed is not to be carried out all the same much later.
        properties = {"acks": "all", "message.timeout.ms": max(1, round(wait_s * 1000))}
        self._outbox = Outbox(settings, None, **properties)
        self._checked = False

    def erase(self, user_id: str) -> str:
        """Have everything removed that is kept of a user; return the request's id.

        Raises:
            EventError: the id is not one that an event can have.
            BrokerError: the brokers do not have the request, or not under each of the user's ids.
        """
        return self.request(user_id, PrivacyAction.ERASE)

    def withdraw_consent(self, user_id: str) -> str:
        """Have no further event of a user used, and what is kept removed; see `erase`."""
        return self.request(user_id, PrivacyAction.WITHDRAW_CONSENT)

    def grant_consent(self, user_id: str) -> str:
        """Have a user's events used again from now on; see `erase`."""
        return self.request(user_id, PrivacyAction.GRANT_CONSENT)

    def request(self, user_id: str, action: PrivacyAction) -> str:
        """Publish what a user asks for; see `erase`."""
        request_id, now = uuid.uuid4().hex, time.time_ns() // 1_000_000
        if not isinstance(user_id, str) or not user_id:
            raise EventError("user_id: has to be a text of at least one character", "user_id")
        if any("\ud800" <= character <= "\udfff" for character in user_id):
            raise EventError("user_id: is no text: it holds half of a surrogate pair", "user_id")
        values = []
        for pseudonym in all_pseudonyms(self._settings.privacy, user_id):
            fields = {
                "request_id": request_id,
                "user_id": pseudonym,
                "action": action.value,
                "time": now,
            }
            try:
                request = msgspec.convert(fields, PrivacyRequest)
            except msgspec.ValidationError as error:
                raise EventError(f"user_id: {error}", "user_id") from None
            values.append((pseudonym, self._outbox.encode(Topic.PRIVACY, request)))
        self._check()
        self._deliver([self._hand_over(key, value) for key, value in values])
        return request_id

    def close(self) -> None:
        """End. Nothing waits: every request was acknowledged, or its failure was raised."""
        if self._outbox.usable:
            self._outbox.flush(0)

    def _check(self) -> None:
        """Make sure, once, that a request goes to the partition with the user's events."""
        if self._checked:
            return
        counts = self._outbox.check(Topic.PRIVACY, Topic.CLICKSTREAM, timeout=self._wait_s)
        if counts[Topic.PRIVACY] != counts[Topic.CLICKSTREAM]:
            name = self._settings.kafka.topic
            raise BrokerError(
                f"topic {name(Topic.PRIVACY)} has {counts[Topic.PRIVACY]} partitions and "
                f"{name(Topic.CLICKSTREAM)} has {counts[Topic.CLICKSTREAM]}; a user's records "
                "share a partition number, so both must have as many"
            )
        self._checked = True

    def _hand_over(self, key: str, value: bytes) -> concurrent.futures.Future[None]:
        future: concurrent.futures.Future[None] = concurrent.futures.Future()

        def on_delivery(error: KafkaError | None, _: Message) -> None:
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(BrokerError(error.str()))

        self._outbox.produce(Topic.PRIVACY, key, value, on_delivery=on_delivery)
        return future

    def _deliver(self, waiting: list[concurrent.futures.Future[None]]) -> None:
        # librdkafka itself gives a message up after `wait_s`, so every future ends.
        while not all(future.done() for future in waiting):
            self._outbox.poll(_POLL_S)
        failures = [error for future in waiting if (error := future.exception()) is not None]
        if failures:
            raise BrokerError(
                f"the brokers at {self._settings.kafka.bootstrap_servers} have not acknowledged "
                f"{len(failures)} of the {len(waiting)} records of a privacy request: "
                f"{failures[0]}{self._outbox.told_trouble()}; make the request again"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
