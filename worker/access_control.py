"""Access control entries for the brokers: as commands, as data, or created at once."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec
import yaml
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from schemas.access import USED_BY, Grant, Identity, Operation, Resource, grants
from schemas.errors import BrokerError
from schemas.kafka_refusals import told
from schemas.settings import Settings
from worker.kafka_connection import connect

_TIMEOUT_S = 30.0

_RESOURCES = {
    Resource.TOPIC: ResourceType.TOPIC,
    Resource.GROUP: ResourceType.GROUP,
    Resource.TRANSACTIONS: ResourceType.TRANSACTIONAL_ID,
}
_OPERATIONS = {
    Operation.READ: AclOperation.READ,
    Operation.WRITE: AclOperation.WRITE,
    Operation.CREATE: AclOperation.CREATE,
    Operation.DESCRIBE: AclOperation.DESCRIBE,
    Operation.DESCRIBE_CONFIGS: AclOperation.DESCRIBE_CONFIGS,
}
_STRIMZI_RESOURCES = {Resource.TRANSACTIONS: "transactionalId"}


@dataclass(frozen=True)
class Access:
    """What somebody may do."""

    identity: Identity
    principal: str
    """As Kafka has it, such as `User:innerloop-worker`."""
    grants: tuple[Grant, ...]


def access_of(
    settings: Settings, identities: Iterable[Identity], principal: str | None = None
) -> list[Access]:
    """Return what identities need; the principal of `worker` is `User:innerloop-worker`.

    Args:
        settings: name topics and groups.
        identities: which.
        principal: instead of those names, for one identity.
    """
    return [
        Access(
            identity, principal or f"User:innerloop-{identity.value}", grants(settings, identity)
        )
        for identity in identities
    ]


def as_commands(accesses: Sequence[Access], bootstrap_servers: str) -> str:
    """Return calls of `kafka-acls.sh`, a line for each resource."""
    lines = []
    for access in accesses:
        lines.append(f"# {access.identity}: {USED_BY[access.identity]}")
        for grant in access.grants:
            command = ["kafka-acls.sh", "--bootstrap-server", bootstrap_servers]
            command += ["--command-config", "admin.properties", "--add"]
            command += ["--allow-principal", access.principal]
            for operation in grant.operations:
                command += ["--operation", operation.value]
            command += [f"--{grant.resource.value}", grant.name]
            if grant.prefixed:
                command += ["--resource-pattern-type", "prefixed"]
            lines.append(shlex.join(command))
    return "\n".join(lines)


def as_json(accesses: Sequence[Access], bootstrap_servers: str) -> str:
    """Return the entries as a list of objects, one for each identity."""
    found = [
        {
            "identity": access.identity.value,
            "used_by": USED_BY[access.identity].replace("`", ""),
            "principal": access.principal,
            "grants": [
                {
                    "resource": grant.resource.value,
                    "name": grant.name,
                    "pattern": _pattern(grant),
                    "operations": [operation.value for operation in grant.operations],
                    "why": grant.why,
                }
                for grant in access.grants
            ],
        }
        for access in accesses
    ]
    return msgspec.json.format(msgspec.json.encode(found), indent=2).decode()


def as_strimzi(accesses: Sequence[Access], bootstrap_servers: str) -> str:
    """Return Strimzi's KafkaUser resources, with SCRAM credentials that Strimzi makes."""
    users = [
        {
            "apiVersion": "kafka.strimzi.io/v1",
            "kind": "KafkaUser",
            "metadata": {"name": access.principal.removeprefix("User:")},
            "spec": {
                "authentication": {"type": "scram-sha-512"},
                "authorization": {
                    "type": "simple",
                    "acls": [
                        {
                            "resource": {
                                "type": _STRIMZI_RESOURCES.get(
                                    grant.resource, grant.resource.value
                                ),
                                "name": grant.name,
                                "patternType": "prefix" if grant.prefixed else "literal",
                            },
                            "operations": [operation.value for operation in grant.operations],
                        }
                        for grant in access.grants
                    ],
                },
            },
        }
        for access in accesses
    ]
    return yaml.safe_dump_all(users, sort_keys=False, explicit_start=True).rstrip("\n")


def as_markdown(accesses: Sequence[Access], bootstrap_servers: str) -> str:
    """Return the entries as a table, for documents."""
    lines = ["| identity | used by | on | may | why |", "|---|---|---|---|---|"]
    for access in accesses:
        who = f"**{access.identity.value}** | {USED_BY[access.identity]}"
        alike: dict[tuple[Resource, tuple[Operation, ...], str], list[str]] = {}
        for grant in access.grants:
            name = f"`{grant.name}{'*' if grant.prefixed else ''}`"
            alike.setdefault((grant.resource, grant.operations, grant.why), []).append(name)
        for (resource, operations, why), names in alike.items():
            may = ", ".join(operation.value for operation in operations)
            lines.append(f"| {who} | {resource.value} {', '.join(names)} | {may} | {why} |")
            who = " | "
    return "\n".join(lines)


FORMATS: dict[str, Callable[[Sequence[Access], str], str]] = {
    "kafka-acls": as_commands,
    "json": as_json,
    "strimzi": as_strimzi,
    "markdown": as_markdown,
}
"""How entries can be written: name → given them and the brokers' address, the text."""


def bindings(access: Access) -> list[AclBinding]:
    """Return the entries as the admin client has them, one for each operation."""
    return [
        AclBinding(
            _RESOURCES[grant.resource],
            grant.name,
            ResourcePatternType.PREFIXED if grant.prefixed else ResourcePatternType.LITERAL,
            access.principal,
            "*",
            _OPERATIONS[operation],
            AclPermissionType.ALLOW,
        )
        for grant in access.grants
        for operation in grant.operations
    ]


def create(settings: Settings, accesses: Iterable[Access]) -> int:
    """Create the entries on the brokers; those that exist stay. Returns how many there are.

    Raises:
        BrokerError: the brokers cannot be reached, or refuse: it takes `Alter` on the cluster, and
            brokers with an authorizer.
        SettingsError: librdkafka refuses a property.
    """
    wanted = [binding for access in accesses for binding in bindings(access)]
    client = connect(settings.kafka).client
    for future in client.create_acls(wanted, request_timeout=_TIMEOUT_S).values():
        try:
            future.result()
        except KafkaException as error:
            raise BrokerError(
                f"the brokers create no access control entry: {told(error.args[0])}"
            ) from error
    return len(wanted)


def _pattern(grant: Grant) -> str:
    return "prefixed" if grant.prefixed else "literal"
