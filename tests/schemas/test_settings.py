"""Settings: which source wins, how a wrong one is named, what reaches the Kafka clients."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer

from schemas.errors import SettingsError
from schemas.settings import KafkaSettings, Settings, load_settings
from schemas.topics import Topic

SECRET = "hunter2-hunter2-hunter2"


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch, tmp_path):
    """Start without variables, in a folder without settings file."""
    for name in list(os.environ):
        if name.upper().startswith("INNERLOOP_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def toml(tmp_path):
    def write(text: str, name: str = "some.toml") -> Path:
        file = tmp_path / name
        file.write_text(text, encoding="utf-8")
        return file

    return write


def refusal(file: Path | None = None, **flags) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(file, flags)
    message = str(caught.value)
    assert SECRET not in message
    return message


# --- precedence -----------------------------------------------------------------------------------


def test_later_sources_win_setting_by_setting(toml, monkeypatch):
    file = toml(
        """
        [worker]
        top_k = 1
        variant = "from-file"
        group_id = "from-file"
        """
    )
    monkeypatch.setenv("INNERLOOP_WORKER__VARIANT", "from-environment")
    monkeypatch.setenv("INNERLOOP_WORKER__GROUP_ID", "from-environment")
    worker = load_settings(file, {"worker": {"group_id": "from-flag", "top_k": None}}).worker
    assert worker.batch_events == Settings().worker.batch_events
    assert (worker.top_k, worker.variant, worker.group_id) == (1, "from-environment", "from-flag")


SPELLINGS = {
    "quoted": '[kafka.properties]\n"sasl.password" = "%s"',
    "unquoted": '[kafka.properties]\nsasl.password = "%s"',
    "with underscore": '[kafka.properties]\nsasl_password = "%s"',
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize(
    ("variable", "form"),
    [
        ("INNERLOOP_KAFKA__PROPERTIES__SASL_PASSWORD", "{}"),
        ("INNERLOOP_KAFKA__PROPERTIES", '{{"sasl.password": "{}"}}'),
        ("INNERLOOP_KAFKA", '{{"properties": {{"sasl.password": "{}"}}}}'),
    ],
)
def test_properties_merge_one_by_one_however_they_are_spelt(
    toml, monkeypatch, spelling, variable, form
):
    file = toml(spelling % "file" + '\n"client.id" = "file"\n')
    assert load_settings(file).kafka.properties == {"sasl.password": "file", "client.id": "file"}
    monkeypatch.setenv(variable, form.format("environment"))
    assert load_settings(file).kafka.properties["sasl.password"] == "environment"
    flags = {"kafka": {"properties": {"sasl.password": "flag"}}}
    assert load_settings(file, flags).kafka.properties == {
        "sasl.password": "flag",
        "client.id": "file",
    }


def test_properties_with_an_underscore_of_their_own_keep_it(monkeypatch):
    monkeypatch.setenv("INNERLOOP_KAFKA__PROPERTIES__LOG_LEVEL", "3")
    monkeypatch.setenv("INNERLOOP_KAFKA__PROPERTIES__SSL_CA_LOCATION", "/ca.pem")
    assert load_settings().kafka.properties == {"log_level": "3", "ssl.ca.location": "/ca.pem"}


def test_the_file_is_the_one_asked_for_then_the_variables_then_the_usual_one(toml, monkeypatch):
    toml("[worker]\ntop_k = 1", "innerloop.toml")
    by_variable = toml("[worker]\ntop_k = 2", "variable.toml")
    by_flag = toml("[worker]\ntop_k = 3", "flag.toml")
    assert load_settings().worker.top_k == 1
    monkeypatch.setenv("INNERLOOP_CONFIG", str(by_variable))
    assert load_settings().worker.top_k == 2
    assert load_settings(by_flag).worker.top_k == 3


def test_without_any_source_the_defaults_hold():
    assert load_settings() == Settings()
    assert load_settings(flags={"worker": {"top_k": 3}}) != Settings()


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        load_settings().worker.top_k = 3


# --- wrong settings -------------------------------------------------------------------------------


def test_a_missing_file_is_named(monkeypatch, tmp_path):
    assert "nowhere.toml does not exist" in refusal(Path("nowhere.toml"))
    monkeypatch.setenv("INNERLOOP_CONFIG", "elsewhere.toml")
    message = refusal()
    assert "elsewhere.toml" in message
    assert "INNERLOOP_CONFIG" in message


def test_a_file_that_is_no_toml_is_named_with_the_place(toml, tmp_path):
    message = refusal(toml("[kafka]\npartitions ==\n"))
    assert "some.toml is not valid TOML" in message
    assert "line 2" in message
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b'[worker]\nvariant = "\xe9"\n')
    assert "latin.toml is not UTF-8 text, at byte 20" in refusal(latin)


def test_a_wrong_value_names_setting_source_and_what_is_right(toml, monkeypatch):
    file = toml("[kafka]\npartitions = 0\n")
    says = "should be greater than or equal to 1: partitions of the topics keyed by user"
    assert refusal(file) == f"wrong setting: kafka.partitions = 0 ({file}) {says}"
    monkeypatch.setenv("INNERLOOP_KAFKA__PARTITIONS", "-1")
    variable = "environment variable INNERLOOP_KAFKA__PARTITIONS"
    assert refusal(file) == f"wrong setting: kafka.partitions = '-1' ({variable}) {says}"
    assert "kafka.partitions = -2 (a flag)" in refusal(file, kafka={"partitions": -2})


def test_every_wrong_setting_is_listed_once(toml):
    message = refusal(
        toml('[kafka]\nproperties = {debug = ["a"]}\n[worker]\ndevice = "tpu"\ntop_k = "some"\n')
    )
    assert message.splitlines()[0] == "wrong settings:"
    assert [line.split()[0] for line in message.splitlines()[1:]] == [
        "kafka.properties.debug",
        "worker.device",
        "worker.top_k",
    ]
    assert "'auto', 'cpu' or 'cuda'" in message
    assert "text, a number, true or false" in message


def test_an_unknown_setting_or_section_gets_the_nearest_one_offered(toml, monkeypatch):
    message = refusal(toml("[worker]\nbatch_event = 1\n[metric]\nport = 1\n"))
    assert "worker.batch_event " in message
    assert "did you mean batch_events?" in message
    assert "metric " in message
    assert "did you mean metrics?" in message
    monkeypatch.setenv("INNERLOOP_WORKER__THREAD", "2")
    message = refusal()
    assert "environment variable INNERLOOP_WORKER__THREAD" in message
    assert "did you mean threads?" in message


@pytest.mark.parametrize("name", ["INNERLOOP_KAFKA_PARTITIONS", "INNERLOOP_X__Y", "innerloop_x__y"])
def test_a_variable_of_no_section_is_refused_not_ignored(monkeypatch, name):
    monkeypatch.setenv(name, SECRET)
    message = refusal()
    assert name in message
    assert "INNERLOOP_KAFKA__…" in message


@pytest.mark.parametrize("name", ["INNERLOOP_WIRE", "INNERLOOP_KAFKA__CONSUMER_PROPERTIES"])
@pytest.mark.parametrize("value", [f"password={SECRET}", f'["{SECRET}"]'])
def test_a_variable_that_has_to_be_an_object_is_refused_by_name(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert f"{name} is not a JSON object" in refusal()


def test_a_section_that_is_no_table_is_named(toml):
    assert "kafka (" in (message := refusal(toml("kafka = 3\n")))
    assert "a table of settings, [kafka]" in message


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("bootstrap.servers", "kafka.bootstrap_servers"),
        ("group.id", "worker.group_id"),
        ("enable.auto.commit", "acknowledged"),
        ("enable.auto.offset.store", "acknowledged"),
    ],
)
@pytest.mark.parametrize("table", ["properties", "consumer_properties"])
def test_properties_that_innerloop_decides_are_refused(name, instead, table):
    message = refusal(kafka={table: {name: "x"}})
    assert f"kafka.{table} " in message
    assert name in message
    assert instead in message


def test_avro_needs_a_registry(toml):
    message = refusal(toml('[wire]\nformat = "avro"\n'))
    assert "wire.registry_url" in message
    assert "is needed where wire.format is avro" in message
    assert "http://127.0.0.1:8081" in message
    assert "http://" in refusal(wire={"registry_url": "127.0.0.1:8081"})


# --- secrets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        f'[kafka.properties]\n"sasl.password" = ["{SECRET}"]',
        f'[kafka]\nproperties = "{SECRET}"',
        f'[kafka.propertys]\n"sasl.password" = "{SECRET}"',
        f'[kafak.properties]\n"sasl.password" = "{SECRET}"',
        f'[wire]\nregistry_url = "ftp://me:{SECRET}@host"',
        f'[wire]\nformat = "avro"\nregistry_properties = {{password = "{SECRET}"}}',
        f'[privacy]\nuser_id_key = ["{SECRET}"]',
        f'[privacy]\nuser_id_kye = "{SECRET}"',
        f'privacy = "{SECRET}"',
        f'user_id_key = "{SECRET}"',
        '[privacy]\nuser_id_key = "short"',
    ],
)
def test_no_message_shows_what_may_be_a_secret(toml, text):
    message = refusal(toml(text))
    assert "'short'" not in message


def test_no_printed_settings_show_a_secret():
    settings = Settings.model_validate(
        {
            "kafka": {
                "properties": {"sasl.password": SECRET},
                "consumer_properties": {"ssl.key.password": SECRET},
                "producer_properties": {"ssl.key.password": SECRET},
            },
            "wire": {
                "registry_url": f"http://me:{SECRET}@host",
                "registry_properties": {"basic.auth.user.info": SECRET},
            },
            "privacy": {"user_id_key": SECRET},
        }
    )
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings)


# --- Kafka clients --------------------------------------------------------------------------------

KAFKA = KafkaSettings.model_validate(
    {
        "bootstrap_servers": "a:1,b:2",
        "properties": {"security.protocol": "plaintext", "linger.ms": 1, "fetch.min.bytes": 1},
        "consumer_properties": {"fetch.min.bytes": 2, "auto.offset.reset": "latest"},
        "producer_properties": {"linger.ms": 3, "partitioner": "murmur2"},
    }
)


def test_a_consumer_gets_its_own_properties_over_the_common_ones_over_the_defaults():
    config = KAFKA.consumer_config("a-group")
    assert config["bootstrap.servers"] == "a:1,b:2"
    assert config["group.id"] == "a-group"
    assert config["security.protocol"] == "plaintext"
    assert config["fetch.min.bytes"] == 2
    assert config["auto.offset.reset"] == "latest"
    assert config["enable.auto.commit"] == "false"
    assert config["partition.assignment.strategy"] == "cooperative-sticky"
    assert config["linger.ms"] == 1
    assert "partitioner" not in config
    assert KAFKA.consumer_config("g", **{"fetch.min.bytes": 9})["fetch.min.bytes"] == 9


def test_a_producer_gets_its_own_properties_over_the_common_ones_over_the_defaults():
    config = KAFKA.producer_config()
    assert config["bootstrap.servers"] == "a:1,b:2"
    assert config["linger.ms"] == 3
    assert config["partitioner"] == "murmur2"
    assert config["enable.idempotence"] == "true"
    assert "auto.offset.reset" not in config
    assert KAFKA.producer_config(**{"linger.ms": 9})["linger.ms"] == 9
    assert KafkaSettings().producer_config()["partitioner"] == "murmur2_random"


def test_an_admin_client_gets_the_common_properties_only():
    assert KAFKA.client_config() == {"bootstrap.servers": "a:1,b:2", **KAFKA.properties}


def test_librdkafka_takes_every_default_and_properties_of_every_type():
    kafka = KafkaSettings.model_validate(
        {
            "bootstrap_servers": "127.0.0.1:1",
            "properties": {
                "socket.keepalive.enable": True,
                "topic.metadata.refresh.sparse": False,
                "socket.timeout.ms": 1000,
                "client.id": "a test",
                "log_level": 0,
            },
        }
    )
    Consumer(kafka.consumer_config("a-group")).close()
    Producer(kafka.producer_config())
    with pytest.raises(KafkaException, match="sockets"):
        Producer(kafka.producer_config(sockets=1))


def test_topics_take_the_prefix():
    assert KafkaSettings().topic(Topic.DEAD_LETTERS) == "clickstream.dlq"
    assert KafkaSettings(topic_prefix="shop.").topic(Topic.CATALOG) == "shop.catalog"
    with pytest.raises(ValueError, match="topic_prefix"):
        KafkaSettings(topic_prefix="shop/")
