"""Whose records must not be counted: what users asked for on the topic `privacy`.

A user's record itself goes when the null value comes that the worker publishes in
`recommendations` for who is erased. What is here keeps old records from making a new one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from schemas.codec import Codec, build_codec
from schemas.privacy import PrivacyRequest
from schemas.settings import Settings
from schemas.topics import Topic
from worker.clients import make_reader
from worker.privacy.barred import Barred
from worker.privacy.records import Lifted, log_unreadable, place_of, read_request
from worker.topic_reader import PartitionReader

_LOG = logging.getLogger(__name__)

_CHUNK = 1000
_WAIT_S = 0.1
_PROGRESS_S = 5.0


class Restrictions:
    """Knows all requests, of every partition: sixteen bytes for each user who made some.

    Args:
        reader: of the topic, in no group.
        partitions: how many it has.
        codec: the wire format.
        on_invalid: told how many requests could not be read.
    """

    def __init__(
        self,
        reader: PartitionReader,
        partitions: int,
        codec: Codec,
        on_invalid: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._reader = reader
        self._on_invalid = on_invalid
        self._decode = codec.decoder(PrivacyRequest)
        self._barred = [Barred() for _ in range(partitions)]
        reader.add(range(partitions))

    @classmethod
    def of(
        cls, settings: Settings, partitions: int, on_invalid: Callable[[int], object]
    ) -> Restrictions:
        """Return those of the topic that the settings name."""
        reader = make_reader(settings, Topic.PRIVACY, wait_ms=100)
        return cls(reader, partitions, build_codec(settings.wire), on_invalid)

    @property
    def complete(self) -> bool:
        """Whether the topic was read to its end."""
        return not self._reader.behind

    def read_whole(self) -> None:
        """Read to the end; blocks.

        Raises:
            BrokerError: the topic cannot be read.
        """
        told = time.monotonic()
        while not self.complete:
            self._read(_WAIT_S)
            if time.monotonic() - told > _PROGRESS_S:
                told = time.monotonic()
                _LOG.info("reading privacy requests: of %d users so far", len(self))

    def follow(self) -> None:
        """Read what the client fetched in the background; waits for nothing.

        Raises:
            BrokerError: the topic cannot be read.
        """
        self._read(0.0)

    def until(self, partition: int, user_id: str) -> int:
        """Return up to which time a user's records are barred; see `Barred.until`."""
        return self._barred[partition].until_of(user_id)

    def __len__(self) -> int:
        return sum(map(len, self._barred))

    def _read(self, wait_s: float) -> None:
        problems = []
        for message in self._reader.read(_CHUNK, wait_s):
            barred = self._barred[message.partition() or 0]
            found = read_request(message, self._decode)
            if isinstance(found, str):
                problems.append(f"{place_of(message)}: {found}")
            elif isinstance(found, Lifted):
                barred.lift(found.user_id)
            else:
                barred.note(found.request.user_id, found.request.action, found.time_ms)
        log_unreadable(_LOG, problems)
        self._on_invalid(len(problems))
