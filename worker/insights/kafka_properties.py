"""librdkafka's properties as Faust and aiokafka want to have them.

The settings speak librdkafka's language, for every client. What of it secures the connection is
translated or refused, and never left out; what only tunes librdkafka is named in the log.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Mapping
from typing import Any

import faust
from faust.types.auth import CredentialsT

from schemas.errors import SettingsError
from schemas.settings import KafkaSettings
from worker.insights.oauth_tokens import USED as TOKEN_PROPERTIES
from worker.insights.oauth_tokens import OidcTokens, oidc_client

_LOG = logging.getLogger(__name__)

_Value = str | int | float | bool
Properties = Mapping[str, _Value]

_SECURITY = ("sasl.", "ssl.", "security.", "enable.ssl.", "enable.sasl.", "https.")
_USED = {
    "security.protocol",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
    "sasl.kerberos.service.name",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.endpoint.identification.algorithm",
    "enable.ssl.certificate.verification",
    "ssl.cipher.suites",
    *TOKEN_PROPERTIES,
}
_BEARER = "OAUTHBEARER"
_PASSWORD_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
# Silence, or what Faust and aiokafka do anyway.
_WITHOUT_MEANING = {
    "log_level",
    "debug",
    "statistics.interval.ms",
    "partition.assignment.strategy",
    "group.protocol",
    "enable.idempotence",
    "partitioner",
    "enable.partition.eof",
}


def _seconds(value: _Value) -> float:
    return float(value) / 1000.0


def _codec(value: _Value) -> str | None:
    return None if value == "none" else str(value)


_TUNING: dict[str, tuple[str, Callable[[_Value], object]]] = {
    "client.id": ("broker_client_id", str),
    "auto.offset.reset": ("consumer_auto_offset_reset", str),
    "group.instance.id": ("consumer_group_instance_id", str),
    "session.timeout.ms": ("broker_session_timeout", _seconds),
    "heartbeat.interval.ms": ("broker_heartbeat_interval", _seconds),
    "max.poll.interval.ms": ("broker_max_poll_interval", _seconds),
    "max.partition.fetch.bytes": ("consumer_max_fetch_size", int),
    "compression.type": ("producer_compression_type", _codec),
    "compression.codec": ("producer_compression_type", _codec),
    "linger.ms": ("producer_linger", _seconds),
    "queue.buffering.max.ms": ("producer_linger", _seconds),
    "message.max.bytes": ("producer_max_request_size", int),
}


def faust_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return the options of `faust.App` that stand for the Kafka settings.

    Raises:
        SettingsError: a property that secures the connection has no counterpart, or is wrong.
    """
    given: dict[str, str | int | float | bool] = {
        **kafka.properties,
        **kafka.consumer_properties,
        **kafka.producer_properties,
    }
    brokers = [broker.strip() for broker in kafka.bootstrap_servers.split(",")]
    options: dict[str, Any] = {"broker": ";".join(f"kafka://{broker}" for broker in brokers)}
    ignored = []
    for name, value in given.items():
        if name in _TUNING:
            option, convert = _TUNING[name]
            options[option] = convert(value)
        elif name.startswith(_SECURITY):
            if name not in _USED:
                raise _unknown(name)
        elif name not in _WITHOUT_MEANING:
            ignored.append(name)
    if ignored:
        _LOG.warning(
            "of kafka.properties, without effect on innerloop insights: %s", ", ".join(ignored)
        )
    credentials = kafka_credentials(given)
    if credentials is not None:
        options["broker_credentials"] = credentials
    return options


def kafka_credentials(given: Properties) -> CredentialsT | None:
    """Return how Faust's clients prove who they are; None for plaintext.

    Raises:
        SettingsError: a property has no counterpart, or is wrong.
    """
    protocol = str(given.get("security.protocol", "plaintext")).lower()
    if protocol == "plaintext":
        return None
    if protocol not in ("ssl", "sasl_plaintext", "sasl_ssl"):
        raise SettingsError(
            f"kafka.properties: security.protocol is {protocol!r}; use plaintext, ssl, "
            "sasl_plaintext or sasl_ssl"
        )
    context = _ssl_context(given) if protocol.endswith("ssl") else None
    if protocol == "ssl":
        return faust.SSLCredentials(context)
    name = "sasl.mechanism" if "sasl.mechanism" in given else "sasl.mechanisms"
    mechanism = str(given.get(name, "GSSAPI")).upper()
    if mechanism == "GSSAPI":
        service = str(given.get("sasl.kerberos.service.name", "kafka"))
        return faust.GSSAPICredentials(
            kerberos_service_name=service, ssl_context=context, mechanism=mechanism
        )
    if mechanism == _BEARER:
        return faust.OAuthCredentials(oauth_cb=OidcTokens(oidc_client(given)), ssl_context=context)
    if mechanism not in _PASSWORD_MECHANISMS:
        raise SettingsError(
            f"kafka.properties: {name} {mechanism} has no counterpart in Faust's client, which "
            f"innerloop insights uses; it knows {', '.join(_PASSWORD_MECHANISMS)}, GSSAPI and "
            f"{_BEARER}"
        )
    for needed in ("sasl.username", "sasl.password"):
        if needed not in given:
            raise SettingsError(f"kafka.properties: {needed} is not set; {mechanism} needs it")
    return faust.SASLCredentials(
        username=str(given["sasl.username"]),
        password=str(given["sasl.password"]),
        ssl_context=context,
        mechanism=mechanism,
    )


def _ssl_context(given: Properties) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(
            cafile=_text(given, "ssl.ca.location"), cadata=_text(given, "ssl.ca.pem")
        )
        certificate = _text(given, "ssl.certificate.location")
        if certificate is not None:
            context.load_cert_chain(
                certificate, _text(given, "ssl.key.location"), _text(given, "ssl.key.password")
            )
        ciphers = _text(given, "ssl.cipher.suites")
        if ciphers is not None:
            context.set_ciphers(ciphers)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            "kafka.properties: the files or texts of ssl.ca.location, ssl.ca.pem, "
            f"ssl.certificate.location and ssl.key.location cannot be used: {error}"
        ) from error
    if str(given.get("ssl.endpoint.identification.algorithm", "https")).lower() == "none":
        context.check_hostname = False
    if str(given.get("enable.ssl.certificate.verification", "true")).lower() == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _text(given: Properties, name: str) -> str | None:
    return None if name not in given else str(given[name])


def _unknown(name: str) -> SettingsError:
    return SettingsError(
        f"kafka.properties: {name} has no counterpart in Faust's client, which innerloop insights "
        f"uses; it knows {', '.join(sorted(_USED))}"
    )
