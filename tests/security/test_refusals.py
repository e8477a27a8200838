"""Wrong credentials and certificates: one clear error, at once, and no storm of attempts."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable

import pytest
from confluent_kafka import KafkaError
from proxies import counted
from secured_shop import PATIENCE_S, SecuredShop, name_of

from producer import Tracker
from schemas.access import Identity
from schemas.errors import BrokerError
from schemas.settings import Settings
from worker.client_errors import ErrorLog
from worker.kafka_connection import connect
from worker.subscriber import RecommendationClient

LONG_S = 60.0
"""How long brokers would have to answer."""

MOST_ATTEMPTS = 60
"""Of one client. In that time librdkafka, left alone, makes some two hundred with a wrong password
and a thousand where TLS fails; told at once it makes a few, or more where all is slow."""

pytestmark = pytest.mark.kafka


def wrong_password(shop: SecuredShop) -> tuple[str, dict[str, str]]:
    return "SCRAM", shop.kafka.scram(name_of(Identity.WORKER), "not it")


def unknown_user(shop: SecuredShop) -> tuple[str, dict[str, str]]:
    return "SCRAM", shop.kafka.scram("nobody")


def wrong_secret(shop: SecuredShop) -> tuple[str, dict[str, str]]:
    return "TOKEN", shop.kafka.bearer(name_of(Identity.WORKER), shop.tokens, "not it")


def expired_broker(shop: SecuredShop) -> tuple[str, dict[str, str]]:
    return "EXPIRED", shop.kafka.scram(name_of(Identity.WORKER))


def unknown_authority(shop: SecuredShop) -> tuple[str, dict[str, str]]:
    trusted = {"ssl.ca.location": str(shop.kafka.stranger.certificate)}
    return "SCRAM", shop.kafka.scram(name_of(Identity.WORKER)) | trusted


def expired_client(shop: SecuredShop) -> tuple[str, dict[str, str]]:
    certificate = shop.kafka.authority.issue(name_of(Identity.WORKER), expired=True)
    return "MTLS", shop.kafka.mutual_tls(certificate)


def unknown_client(shop: SecuredShop) -> tuple[str, dict[str, str]]:
    certificate = shop.kafka.stranger.issue(name_of(Identity.WORKER))
    return "MTLS", shop.kafka.mutual_tls(certificate)


FAULTS = {
    wrong_password: r"invalid credentials.*see sasl\.mechanism, sasl\.username and sasl\.password",
    unknown_user: r"invalid credentials.*see sasl\.mechanism, sasl\.username and sasl\.password",
    wrong_secret: r"invalid_client.*see sasl\.oauthbearer",
    expired_broker: r"certificate has expired.*see ssl\.ca\.location",
    unknown_authority: r"certificate verify failed.*see ssl\.ca\.location",
    expired_client: r"certificate.*ssl\.certificate\.location",
    unknown_client: r"certificate.*ssl\.certificate\.location",
}


def ask_as_worker(settings: Settings) -> None:
    connect(settings.kafka, LONG_S)


def ask_as_tracker(settings: Settings) -> None:
    with Tracker(settings) as tracker:
        tracker.check(LONG_S)


def ask_as_subscriber(settings: Settings) -> None:
    RecommendationClient(settings).start()


@pytest.mark.parametrize("ask", [ask_as_worker, ask_as_tracker])
@pytest.mark.parametrize("fault", FAULTS)
def test_it_is_told_at_once(shop: SecuredShop, fault, ask: Callable[[Settings], None]):
    listener, properties = fault(shop)
    with counted(shop.kafka.address(listener)) as proxy:
        settings = shop.settings(listener, properties)
        data = settings.model_dump() | {}
        data["kafka"]["bootstrap_servers"] = proxy.address
        with pytest.raises(BrokerError, match=FAULTS[fault]) as raised:
            ask(Settings.model_validate(data))
        assert proxy.connections <= MOST_ATTEMPTS
    assert f"broker at {proxy.address} refuses" in str(raised.value)
    assert "not it" not in str(raised.value)


def test_a_subscriber_is_told_as_well(shop: SecuredShop):
    listener, properties = wrong_password(shop)
    with pytest.raises(BrokerError, match="invalid credentials"):
        ask_as_subscriber(shop.settings(listener, properties))


@pytest.mark.parametrize(
    "arguments", [("topics", "list"), ("tail",), ("models", "status"), ("insights",)]
)
def test_a_command_ends_with_one_line(shop: SecuredShop, tmp_path, arguments):
    listener, properties = wrong_password(shop)
    config = tmp_path / "innerloop.toml"
    lines = [f'"{name}" = "{value}"' for name, value in properties.items()]
    config.write_text(
        f'[kafka]\nbootstrap_servers = "{shop.kafka.address(listener)}"\n'
        "[kafka.properties]\n" + "\n".join(lines)
    )
    done = subprocess.run(
        [sys.executable, "-m", "worker.cli", *arguments, "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "invalid credentials" in done.stderr and "not it" not in done.stderr


def test_clients_that_run_on_say_it_once_a_minute(caplog):
    now = [0.0]
    log = ErrorLog(logging.getLogger("librdkafka"), lambda: now[0])
    for _ in range(1000):
        log(KafkaError(KafkaError._AUTHENTICATION, "invalid credentials"))
        log(KafkaError(KafkaError._TRANSPORT, "connection reset"))
        now[0] += 0.05
    now[0] = 61.0
    log(KafkaError(KafkaError._AUTHENTICATION, "invalid credentials"))
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in said] == ["ERROR", "WARNING", "ERROR"]
    assert said[2][1].endswith("; 999 more of the kind since the last")
    assert "sasl.password" in said[0][1]
