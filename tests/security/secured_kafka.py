"""A real Apache Kafka with TLS, SCRAM, mutual TLS, OAUTHBEARER and ACLs; none is let in without."""

from __future__ import annotations

import base64
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from certificates import Authority, Certificate
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from tokens import AUDIENCE, ISSUER, TokenEndpoint, TokenSigner

from schemas.errors import BrokerError
from worker.broker.kafka import _LOGGING
from worker.broker.kafka_jars import find_program, resolve_jars
from worker.broker.readiness import reserved_port, wait_for_port

ADMIN = "admin"
PASSWORD = "a password of {}"
_START_S = 180.0
_LISTENERS = ("SCRAM", "MTLS", "TOKEN", "EXPIRED", "CONTROLLER")
_LOGIN = "org.apache.kafka.common.security"

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners={listeners}
advertised.listeners={advertised}
listener.security.protocol.map=SCRAM:SASL_SSL,MTLS:SSL,TOKEN:SASL_SSL,EXPIRED:SASL_SSL,CONTROLLER:SSL
controller.listener.names=CONTROLLER
inter.broker.listener.name=MTLS
controller.quorum.voters=1@127.0.0.1:{CONTROLLER}
log.dirs={folder}/records
num.network.threads=1
num.io.threads=4
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=2
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
group.initial.rebalance.delay.ms=0
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:broker;User:{admin}
ssl.keystore.type=PEM
ssl.keystore.location={broker}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
ssl.principal.mapping.rules=RULE:^CN=([^,]+)$/$1/
listener.name.mtls.ssl.client.auth=required
listener.name.controller.ssl.client.auth=required
listener.name.expired.ssl.keystore.type=PEM
listener.name.expired.ssl.keystore.location={expired}
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.token.sasl.enabled.mechanisms=OAUTHBEARER
listener.name.scram.scram-sha-512.sasl.jaas.config={login}.scram.ScramLoginModule required;
listener.name.expired.scram-sha-512.sasl.jaas.config={login}.scram.ScramLoginModule required;
listener.name.token.oauthbearer.sasl.jaas.config={bearer}LoginModule required;
listener.name.token.oauthbearer.sasl.server.callback.handler.class={bearer}ValidatorCallbackHandler
listener.name.token.sasl.oauthbearer.jwks.endpoint.url={key_set}
listener.name.token.sasl.oauthbearer.expected.audience={audience}
listener.name.token.sasl.oauthbearer.expected.issuer={issuer}
"""


class SecuredKafka:
    """One node; SCRAM knows `users`, certificates and tokens are of whom the test names."""

    def __init__(self, folder: Path, users: Sequence[str]) -> None:
        self.folder = folder
        self.authority = Authority(folder / "ca", "innerloop test authority")
        self.stranger = Authority(folder / "other-ca", "another authority")
        self.signer = TokenSigner(folder)
        self._users = users
        self._reserved = ExitStack()
        self._ports = {name: self._reserved.enter_context(reserved_port()) for name in _LISTENERS}
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "broker.log"

    def address(self, listener: str) -> str:
        return f"127.0.0.1:{self._ports[listener]}"

    def scram(self, user: str, password: str | None = None) -> dict[str, str]:
        """Return librdkafka's properties for a user with a password."""
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": user,
            "sasl.password": password or PASSWORD.format(user),
            "ssl.ca.location": str(self.authority.certificate),
        }

    def mutual_tls(self, certificate: Certificate) -> dict[str, str]:
        """Return librdkafka's properties for who shows a certificate."""
        return {
            "security.protocol": "SSL",
            "ssl.ca.location": str(self.authority.certificate),
            "ssl.certificate.location": str(certificate.certificate),
            "ssl.key.location": str(certificate.key),
        }

    def bearer(
        self, user: str, endpoint: TokenEndpoint, secret: str | None = None
    ) -> dict[str, str]:
        """Return librdkafka's properties for who gets a token."""
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.client.id": user,
            "sasl.oauthbearer.client.secret": secret or endpoint.secret,
            "sasl.oauthbearer.token.endpoint.url": endpoint.url,
            "ssl.ca.location": str(self.authority.certificate),
        }

    def admin(self) -> AdminClient:
        config = {"bootstrap.servers": self.address("SCRAM"), "log_level": 0, **self.scram(ADMIN)}
        return AdminClient(config)

    def start(self) -> None:
        """Start and wait until the administrator is let in."""
        java, jars = find_program("java", "Java 17 or newer"), resolve_jars()
        properties = self._write_properties()
        key_set = self.signer.key_set.as_uri()
        run = [java, "-Xmx512m", "-XX:+ExitOnOutOfMemoryError"]
        run += [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={key_set}"]
        run += [f"-Dlog4j2.configurationFile={_LOGGING}", "-cp", f"{jars}{os.sep}*"]
        self._format(run, properties)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*run, "kafka.Kafka", str(properties)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        check = self._checker()
        wait_for_port(self._ports["SCRAM"], check)
        _wait_for(self.admin(), check)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._reserved.close()

    def log_text(self) -> str:
        return self._log.read_text(errors="replace") if self._log.is_file() else ""

    def _checker(self) -> Callable[[], None]:
        deadline = time.monotonic() + _START_S

        def check() -> None:
            ended = self._process is not None and self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                raise BrokerError(f"the broker does not start:\n{self.log_text()[-6000:]}")

        return check

    def _write_properties(self) -> Path:
        (self.folder / "records").mkdir()
        names = {name: f"{name}://{self.address(name)}" for name in _LISTENERS}
        text = _PROPERTIES.format(
            listeners=",".join(names.values()),
            advertised=",".join(url for name, url in names.items() if name != "CONTROLLER"),
            CONTROLLER=self._ports["CONTROLLER"],
            folder=self.folder.as_posix(),
            admin=ADMIN,
            broker=self.authority.issue("broker").both,
            expired=self.authority.issue("broker", expired=True).both,
            authority=self.authority.certificate,
            login=_LOGIN,
            bearer=f"{_LOGIN}.oauthbearer.OAuthBearer",
            key_set=self.signer.key_set.as_uri(),
            audience=AUDIENCE,
            issuer=ISSUER,
        )
        properties = self.folder / "server.properties"
        properties.write_text(text)
        return properties

    def _format(self, run: list[str], properties: Path) -> None:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = [*run, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}"]
        command += [f"--config={properties}"]
        for user in (ADMIN, *self._users):
            credential = f"name={user},password={PASSWORD.format(user)}"
            command += ["--add-scram", f"SCRAM-SHA-512=[{credential}]"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_START_S, check=False
        )
        if done.returncode != 0:
            raise BrokerError(f"Kafka cannot format its storage:\n{done.stdout}{done.stderr}")


def _wait_for(admin: AdminClient, check: Callable[[], None]) -> None:
    while True:
        try:
            if admin.list_topics(timeout=1.0).brokers:
                return
        except KafkaException:
            check()
