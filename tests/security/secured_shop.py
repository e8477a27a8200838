"""A Kafka that lets nobody in without leave, and the identities that it knows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from secured_kafka import SecuredKafka
from tokens import TokenEndpoint

from schemas.access import Identity
from schemas.settings import Settings

PATIENCE_S = 120.0
PREFIX = "shop."


def name_of(identity: Identity) -> str:
    return f"innerloop-{identity.value}"


@dataclass
class SecuredShop:
    """The broker, with all topics, and for each identity the entries that it needs."""

    kafka: SecuredKafka
    admin: AdminClient
    tokens: TokenEndpoint
    folder: Path

    def settings(
        self, listener: str, properties: dict[str, str], **sections: dict[str, object]
    ) -> Settings:
        """Return settings for a listener, with these properties."""
        address = self.kafka.address(listener)
        given = {
            "kafka": {
                "bootstrap_servers": address,
                "topic_prefix": PREFIX,
                "partitions": 2,
                "properties": properties,
            },
            "metrics": {"port": 0},
            **sections,
        }
        return Settings.model_validate(given)

    def by_password(self, identity: Identity, **sections: dict[str, object]) -> Settings:
        return self.settings("SCRAM", self.kafka.scram(name_of(identity)), **sections)

    def by_certificate(self, identity: Identity, **sections: dict[str, object]) -> Settings:
        certificate = self.kafka.authority.issue(name_of(identity))
        return self.settings("MTLS", self.kafka.mutual_tls(certificate), **sections)

    def by_token(self, identity: Identity, **sections: dict[str, object]) -> Settings:
        properties = self.kafka.bearer(name_of(identity), self.tokens)
        return self.settings("TOKEN", properties, **sections)

    @contextmanager
    def without(self, lost: AclBinding) -> Iterator[None]:
        """Take an entry away while the block runs."""
        for future in self.admin.delete_acls([_filter_of(lost)]).values():
            assert len(future.result(PATIENCE_S)) == 1, lost
        self.await_entries(lambda there: lost not in there)
        try:
            yield
        finally:
            for future in self.admin.create_acls([lost]).values():
                future.result(PATIENCE_S)
            self.await_entries(lambda there: lost in there)

    def await_entries(self, holds: Callable[[set[AclBinding]], bool]) -> None:
        """Wait until the broker, which hears of entries after the controller, goes by them."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds(set(self.admin.describe_acls(_ANY).result(PATIENCE_S))):
            assert time.monotonic() < deadline, "entries do not come into force"
            time.sleep(0.02)


def _filter_of(entry: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        entry.restype,
        entry.name,
        entry.resource_pattern_type,
        entry.principal,
        entry.host,
        entry.operation,
        entry.permission_type,
    )


_ANY = AclBindingFilter(
    ResourceType.ANY,
    None,
    ResourcePatternType.ANY,
    None,
    None,
    AclOperation.ANY,
    AclPermissionType.ANY,
)
