"""librdkafka's words are Faust's, or refused; nothing that secures a connection is left out."""

import ssl
import subprocess

import faust
import pytest

from schemas.errors import SettingsError
from schemas.settings import KafkaSettings
from worker.insights.kafka_properties import faust_options, kafka_credentials
from worker.insights.store import store_url

BEARER = {
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "OAUTHBEARER",
    "sasl.oauthbearer.method": "oidc",
    "sasl.oauthbearer.client.id": "shop",
    "sasl.oauthbearer.client.secret": "hush",
    "sasl.oauthbearer.token.endpoint.url": "https://login.example/token",
}


def options(properties=None, **given):
    return faust_options(KafkaSettings(properties=properties or {}, **given))


def test_plaintext_needs_no_credentials():
    given = options(bootstrap_servers="a:9092, b:9093")
    assert given == {"broker": "kafka://a:9092;kafka://b:9093"}


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("name", ["sasl.mechanism", "sasl.mechanisms"])
def test_a_password_reaches_faust(mechanism, name):
    credentials = options(
        {
            "security.protocol": "SASL_PLAINTEXT",
            name: mechanism,
            "sasl.username": "shop",
            "sasl.password": "hush",
        }
    )["broker_credentials"]
    assert isinstance(credentials, faust.SASLCredentials)
    assert (credentials.username, credentials.password) == ("shop", "hush")
    assert credentials.mechanism.value == mechanism
    assert credentials.protocol.value == "SASL_PLAINTEXT"


def test_tls_checks_names_and_certificates_unless_told_not_to():
    secured = {"security.protocol": "ssl"}
    context = kafka_credentials(secured).context
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    context = kafka_credentials(
        {**secured, "ssl.endpoint.identification.algorithm": "none"}
    ).context
    assert not context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    context = kafka_credentials({**secured, "enable.ssl.certificate.verification": "false"}).context
    assert context.verify_mode is ssl.CERT_NONE


def test_certificates_are_loaded(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-keyout", str(key), "-out", str(certificate)],
        capture_output=True,
        check=False,
    )  # fmt: skip
    if made.returncode != 0:
        pytest.skip("openssl makes no certificate")
    credentials = kafka_credentials(
        {
            "security.protocol": "sasl_ssl",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "shop",
            "sasl.password": "hush",
            "ssl.ca.location": str(certificate),
            "ssl.certificate.location": str(certificate),
            "ssl.key.location": str(key),
        }
    )
    assert credentials.protocol.value == "SASL_SSL"
    (authority,) = credentials.ssl_context.get_ca_certs()
    assert authority["subject"] == ((("commonName", "localhost"),),)


def test_tokens_are_asked_for_as_librdkafka_would():
    longer = {
        name.replace("bearer.client", "bearer.client.credentials.client"): value
        for name, value in BEARER.items()
    }
    more = {"sasl.oauthbearer.scope": "kafka", "sasl.oauthbearer.extensions": "a=1, b=x=y"}
    for given in (BEARER | more, longer | more):
        credentials = options(given)["broker_credentials"]
        assert isinstance(credentials, faust.OAuthCredentials)
        assert credentials.protocol.value == "SASL_SSL"
        assert credentials.oauth_cb.extensions() == {"a": "1", "b": "x=y"}
        client = credentials.oauth_cb._client
        assert (client.client_id, client.secret, client.scope) == ("shop", "hush", "kafka")
        assert "hush" not in repr(client)


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"security.protocol": "tls"}, "security.protocol is 'tls'; use plaintext, ssl"),
        ({"ssl.engine.location": "/x"}, "ssl.engine.location has no counterpart"),
        ({"sasl.oauthbearer.assertion.file": "x"}, "assertion.file has no counterpart"),
        (BEARER | {"sasl.oauthbearer.method": "default"}, "method is 'default'.*by oidc"),
        (BEARER | {"sasl.oauthbearer.grant.type": "jwt"}, "grant.type is 'jwt'"),
        (BEARER | {"sasl.oauthbearer.token.endpoint.url": "/token"}, "url is no address"),
        (BEARER | {"sasl.oauthbearer.extensions": "a=1,b"}, "extensions has to be like"),
        (BEARER | {"sasl.oauthbearer.extensions": "auth=1"}, "extensions has to be like"),
        (BEARER | {"https.ca.location": "/does/not/exist"}, "https.ca.location or https.ca.pem"),
        (
            {name: value for name, value in BEARER.items() if "secret" not in name},
            "sasl.oauthbearer.client.secret is not set",
        ),
        (
            {"security.protocol": "sasl_ssl", "sasl.mechanism": "AWS_MSK_IAM"},
            "sasl.mechanism AWS_MSK_IAM has no counterpart",
        ),
        (
            {"security.protocol": "sasl_ssl", "sasl.mechanism": "PLAIN", "sasl.username": "shop"},
            "sasl.password is not set; PLAIN needs it",
        ),
        (
            {"security.protocol": "ssl", "ssl.ca.location": "/does/not/exist"},
            "ssl.ca.location.* cannot be used",
        ),
    ],
)
def test_what_has_no_counterpart_is_refused_and_named(properties, message):
    with pytest.raises(SettingsError, match=message) as refused:
        options(properties)
    assert "hush" not in str(refused.value)


def test_what_only_tunes_is_translated_or_named_in_the_log(caplog):
    given = options(
        {"client.id": "shop", "socket.keepalive.enable": "true", "log_level": 3},
        consumer_properties={"session.timeout.ms": 6000, "auto.offset.reset": "latest"},
        producer_properties={"compression.type": "none"},
    )
    assert given["broker_client_id"] == "shop"
    assert given["broker_session_timeout"] == 6.0
    assert given["consumer_auto_offset_reset"] == "latest"
    assert given["producer_compression_type"] is None
    assert "without effect on innerloop insights: socket.keepalive.enable" in caplog.text
    assert "log_level" not in caplog.text


def test_a_store_that_is_not_installed_is_refused(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert (store_url("auto"), store_url("memory")) == ("memory://", "memory://")
    with pytest.raises(SettingsError, match=r"install innerloop\[rocksdb\]"):
        store_url("rocksdb")
