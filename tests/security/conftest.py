"""What tests of security share: a secured Kafka with all topics and identities."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Workers with a small model, and recommendations made by hand, are those of other tests.
sys.path += [str(Path(__file__).parents[1] / name) for name in ("worker", "subscriber")]

from secured_kafka import ADMIN, SecuredKafka
from secured_shop import SecuredShop, name_of
from tokens import serve_tokens

from schemas.access import Identity
from schemas.errors import BrokerError
from worker.access_control import access_of, bindings, create
from worker.broker.kafka import BOOTSTRAP_VARIABLE
from worker.broker.kafka_jars import find_program, resolve_jars
from worker.kafka_admin import create_topics


def _started(kafka: SecuredKafka) -> None:
    try:
        find_program("java", "Java 17 or newer")
        resolve_jars()
    except BrokerError as error:
        reason = f"no real Kafka broker: {error}"
        if os.environ.get("CI") and not os.environ.get(BOOTSTRAP_VARIABLE):
            pytest.fail(f"{reason} (CI is set, so this is a failure)")
        pytest.skip(reason)
    kafka.start()


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredShop]:
    """A secured Kafka, set up by the identity `admin` and one that may do everything."""
    folder = tmp_path_factory.mktemp("secured")
    kafka = SecuredKafka(folder, [name_of(identity) for identity in Identity])
    try:
        _started(kafka)
        with serve_tokens(kafka.signer, "the secret of all clients") as tokens:
            shop = SecuredShop(kafka, kafka.admin(), tokens, folder)
            everything = shop.settings(
                "SCRAM", kafka.scram(ADMIN), worker={"delivery": "exactly_once"}
            )
            accesses = access_of(everything, tuple(Identity))
            wanted = {binding for access in accesses for binding in bindings(access)}
            assert create(everything, accesses) == len(wanted)
            shop.await_entries(wanted.issubset)
            create_topics(shop.by_password(Identity.ADMIN))
            yield shop
    finally:
        kafka.close()
