"""Following a compacted topic in a thread, for those who only want what it holds by now."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Generic

from confluent_kafka import Message

from schemas.codec import DECODE_ERRORS, MessageT, build_codec
from schemas.errors import BrokerError, RegistryError
from schemas.settings import Settings
from schemas.topics import Topic
from worker.topic_follower import TopicFollower

_LOG = logging.getLogger(__name__)
_MOST_AT_ONCE = 5000
_POLL_S = 0.2
_ASK_AGAIN_S = 5.0


class TopicThread(Generic[MessageT]):
    """Follows a topic from its beginning in a thread of its own, once started.

    Records that cannot be used are passed over: the worker has said so. A schema registry that
    does not answer is asked again. Where the brokers refuse to be read for good, the thread ends
    with a warning, and what was told holds.

    Args:
        settings: brokers and wire format.
        topic: to follow.
        kind: the type of its messages.
        put: called in the thread with each message.
        remove: called in the thread with the key of each null value.
        name: of the thread.
        once_ended: what a warning says it means that the thread ended by itself.
        refresh_s: how often to look for partitions that were added, seconds.
        ask_again_s: how soon to ask a schema registry again that did not answer, seconds.

    Raises:
        BrokerError: the brokers do not answer, or do not have the topic.
        SettingsError: the wire format cannot be read, or librdkafka refuses a property.
    """

    def __init__(
        self,
        settings: Settings,
        topic: Topic,
        kind: type[MessageT],
        *,
        put: Callable[[MessageT], object],
        remove: Callable[[str], object],
        name: str,
        once_ended: str,
        refresh_s: float = 60.0,
        ask_again_s: float = _ASK_AGAIN_S,
    ) -> None:
        self._decode = build_codec(settings.wire).decoder(kind)
        self._put = put
        self._remove = remove
        self._once_ended = once_ended
        self._ask_again_s = ask_again_s
        self._follower = TopicFollower(settings.kafka, topic, 0, refresh_s)
        self._stop = threading.Event()
        self._complete = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def wait(self, timeout: float) -> bool:
        """Wait until the topic is read to the end that it had; return whether it is.

        Args:
            timeout: seconds.
        """
        return self._complete.wait(timeout)

    def close(self) -> None:
        """Stop following."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                for message in self._follower.read(_MOST_AT_ONCE, _POLL_S):
                    self._take(message)
                if self._follower.caught_up:
                    self._complete.set()
        except BrokerError as error:
            _LOG.warning("%s: %s", self._once_ended, error)
        finally:
            self._follower.close()

    def _take(self, message: Message) -> None:
        value = message.value()
        if value is None:
            # What is no UTF-8 is nobody's id.
            self._remove((message.key() or b"").decode(errors="replace"))
            return
        taken = self._decoded(value)
        if taken is not None:
            self._put(taken)

    def _decoded(self, value: bytes) -> MessageT | None:
        """Return the message; None if it is none, or the end comes while the registry is asked."""
        asked_before = False
        while not self._stop.is_set():
            try:
                return self._decode(value)
            except DECODE_ERRORS:
                return None
            except RegistryError as error:
                if not asked_before:
                    _LOG.warning(
                        "%s until the schema registry answers: %s", self._once_ended, error
                    )
                asked_before = True
                self._stop.wait(self._ask_again_s)
        return None
