from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import SettingsError
from worker.cli.options import parse_properties, settings_from


def test_flags_win_over_environment_and_environment_over_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(
        '[kafka]\nbootstrap_servers = "file:1"\ntopic_prefix = "file."\npartitions = 2\n'
        '[kafka.properties]\n"security.protocol" = "SSL"\n"client.id" = "file"\n'
    )
    monkeypatch.setenv("INNERLOOP_KAFKA__TOPIC_PREFIX", "environment.")
    monkeypatch.setenv("INNERLOOP_KAFKA__BOOTSTRAP_SERVERS", "environment:1")

    settings = settings_from(file, "flag:1", ["client.id=flag"], worker={"top_k": 7})

    assert settings.kafka.bootstrap_servers == "flag:1"
    assert settings.kafka.topic_prefix == "environment."
    assert settings.kafka.partitions == 2
    assert settings.kafka.properties == {"security.protocol": "SSL", "client.id": "flag"}
    assert settings.worker.top_k == 7


def test_flags_not_given_change_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    kafka, worker = {"partitions": None}, {"group_id": None}
    given = settings_from(None, None, None, kafka=kafka, worker=worker)
    assert given.model_dump() == settings_from().model_dump()


def test_a_value_may_hold_an_equals_sign_and_the_last_of_a_key_wins() -> None:
    assert parse_properties(["sasl.password=a=b=", "client.id=x", "client.id="]) == {
        "sasl.password": "a=b=",
        "client.id": "",
    }


@pytest.mark.parametrize("wrong", ["hunter2", "sasl.password hunter2", "=hunter2", "A b=hunter2"])
def test_a_wrong_form_says_what_is_right_and_hides_the_value(wrong: str) -> None:
    with pytest.raises(SettingsError, match="number 2") as caught:
        parse_properties(["client.id=x", wrong])
    assert "KEY=VALUE" in str(caught.value)
    assert "hunter2" not in str(caught.value)
