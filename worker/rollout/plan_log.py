"""The plans of models in the `models` topic: reading a group's latest, and adding one."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.codec import decode_rollout, encode_rollout
from schemas.errors import BrokerError, DecodeError, RolloutError
from schemas.kafka_refusals import told
from schemas.model_rollout import ModelRollout
from schemas.settings import Settings
from schemas.topics import Topic
from worker.clients import make_reader, make_reporting_producer
from worker.kafka_connection import connect, missing_topic
from worker.stages.decode import position

_LOG = logging.getLogger(__name__)

_CHUNK = 500
_WAIT_S = 0.1
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class StoredPlan:
    """A plan, and where it stands in the topic."""

    plan: ModelRollout
    partition: int
    offset: int


class PlanLog:
    """The plans of one group of workers.

    Args:
        settings: say where the brokers are, and which group it is.

    Raises:
        BrokerError: the brokers cannot be reached, or the topic does not exist.
        SettingsError: librdkafka refuses a property.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topic = settings.kafka.topic(Topic.MODELS)
        self._group_id = settings.worker.group_id
        replicas = connect(settings.kafka).replicas
        if self._topic not in replicas:
            raise missing_topic(self._topic)
        self._reader = make_reader(settings, Topic.MODELS, wait_ms=100)
        self._reader.add(range(len(replicas[self._topic])))
        self._latest: StoredPlan | None = None

    @property
    def latest(self) -> ModelRollout | None:
        """The group's latest plan, as far as it is read; None if there is none."""
        return None if self._latest is None else self._latest.plan

    def read(self, wait_s: float = 0.0) -> None:
        """Read on a little.

        Raises:
            BrokerError: the topic cannot be read.
        """
        self._take(self._reader.read(_CHUNK, wait_s))

    def read_to_end(self) -> None:
        """Read to the end that the topic has now.

        Raises:
            BrokerError: the topic cannot be read, or not within half a minute.
        """
        deadline = time.monotonic() + _TIMEOUT_S
        while self._reader.behind:
            if time.monotonic() > deadline:
                raise BrokerError(f"{self._topic} cannot be read to its end in {_TIMEOUT_S:g} s")
            self.read(_WAIT_S)

    def add(self, plan: ModelRollout) -> None:
        """Add a plan that was made of `latest`; everything must have been read.

        Raises:
            RolloutError: somebody else added one in the meantime. This one counts, being the later
                one, and was made without knowing of theirs.
            BrokerError: the brokers do not take it.
        """
        where = self._produce(plan)
        others: list[StoredPlan] = []
        deadline = time.monotonic() + _TIMEOUT_S
        while not others or (others[-1].partition, others[-1].offset) < where:
            if time.monotonic() > deadline:
                raise BrokerError(f"{self._topic} does not show what was written to it")
            others += self._take(self._reader.read(_CHUNK, _WAIT_S))
        if len(others) > 1:
            raise RolloutError(
                f"somebody else changed the plan of {self._group_id} at the same time; yours, "
                f"revision {plan.revision}, was made without theirs: see `innerloop models status`"
            )

    def close(self) -> None:
        """Close the reader."""
        self._reader.close()

    def _produce(self, plan: ModelRollout) -> tuple[int, int]:
        delivered: list[tuple[KafkaError | None, Message]] = []
        producer: Producer = make_reporting_producer(self._settings)
        try:
            producer.produce(
                self._topic,
                key=self._group_id.encode(),
                value=encode_rollout(plan),
                on_delivery=lambda error, message: delivered.append((error, message)),
            )
        except KafkaException as error:
            raise BrokerError(f"{self._topic} takes no plan: {told(error.args[0])}") from error
        producer.flush(_TIMEOUT_S)
        if not delivered:
            raise BrokerError(f"the brokers do not acknowledge a record for {self._topic}")
        refusal, message = delivered[0]
        if refusal is not None:
            raise BrokerError(f"{self._topic} takes no plan: {told(refusal)}")
        return position(message)

    def _take(self, messages: Iterable[Message]) -> list[StoredPlan]:
        """Take note of the group's plans among records; return them."""
        found = []
        for message in messages:
            if message.key() == self._group_id.encode():
                stored = _stored(message, self._group_id)
                if stored is not None:
                    self._latest = stored
                    found.append(stored)
        return found


def _stored(message: Message, group_id: str) -> StoredPlan | None:
    partition, offset = position(message)
    try:
        plan = decode_rollout(message.value() or b"")
    except DecodeError as error:
        _LOG.error("the plan of models at offset %d cannot be read: %s", offset, error)
        return None
    if plan.group_id != group_id:
        _LOG.error("the plan of models at offset %d is not of its key's group", offset)
        return None
    return StoredPlan(plan, partition, offset)
