"""The delivery that the settings ask for, with its producer."""

from __future__ import annotations

from confluent_kafka import Consumer

from schemas.settings import Settings
from schemas.topics import Topic
from worker.clients import make_producer, make_transactional_producer
from worker.delivery.at_least_once import AtLeastOnce
from worker.delivery.exactly_once import ExactlyOnce
from worker.delivery.interface import Delivery
from worker.delivery.membership import Membership
from worker.delivery.transactional_producer import COORDINATOR_TIMEOUT_S, TransactionalProducer
from worker.metrics import WorkerMetrics
from worker.stages.commit import Committer


def make_delivery(
    settings: Settings,
    consumer: Consumer,
    committer: Committer,
    metrics: WorkerMetrics,
    transactions: str,
) -> Delivery:
    """Return a way to deliver.

    Args:
        settings: all of them.
        consumer: the member of the worker's group.
        committer: of its offsets, for delivery at least once.
        metrics: of the delivery.
        transactions: the transactional.id, for delivery exactly once.

    Raises:
        SettingsError: librdkafka refuses a property.
    """
    if settings.worker.delivery == "at_least_once":
        return AtLeastOnce(make_producer(settings), committer, metrics)
    timeout_s = settings.worker.transaction_timeout_ms / 1000.0
    producer = TransactionalProducer(
        make_transactional_producer(settings, transactions),
        transactions,
        min(COORDINATOR_TIMEOUT_S, timeout_s),
    )
    return ExactlyOnce(
        producer,
        Membership(consumer),
        settings.kafka.topic(Topic.CLICKSTREAM),
        metrics,
        interval_s=settings.worker.transaction_ms / 1000.0,
        requests_topic=settings.kafka.topic(Topic.PRIVACY),
    )
