"""The reference of the settings is up to date, and the example that is shipped can be loaded."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest
from pydantic import Field
from typer.testing import CliRunner

from schemas.documents import differences
from schemas.documents.configuration import configuration_document
from schemas.settings import Settings, WorkerSettings, load_settings

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "configuration.md"
EXAMPLE = ROOT / "deploy" / "innerloop.toml"


@pytest.fixture(autouse=True)
def nothing_given(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.upper().startswith("INNERLOOP_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def innerloop():
    from worker.cli.app import app

    return lambda *arguments: CliRunner().invoke(app, [str(part) for part in arguments])


def test_the_stored_reference_is_what_the_settings_say():
    assert REFERENCE.read_text(encoding="utf-8") == configuration_document(), (
        "run `innerloop settings --out docs/configuration.md`"
    )


def test_every_setting_is_in_the_reference_with_its_variable():
    document = configuration_document()
    for section, field in Settings.model_fields.items():
        for name, setting in field.annotation.model_fields.items():
            variable = f"INNERLOOP_{section}__{name}".upper()
            row = next(line for line in document.splitlines() if f"`{section}.{name}`" in line)
            assert f"`{variable}`" in row
            assert setting.description, f"{section}.{name} has no description"
            assert setting.description in row


def test_a_new_setting_changes_the_reference(monkeypatch):
    class MoreSettings(WorkerSettings):
        """The streaming worker."""

        sampling: float = Field(0.5, gt=0, description="share of events used")

    before = configuration_document()
    monkeypatch.setattr(Settings.model_fields["worker"], "annotation", MoreSettings)
    row = "| `worker.sampling` | `INNERLOOP_WORKER__SAMPLING` | number, > 0 | `0.5` | share of "
    assert row not in before
    assert row in configuration_document()


def test_the_references_own_example_can_be_loaded(tmp_path):
    (block,) = re.findall(r"```toml\n(.*?)```", configuration_document(), re.DOTALL)
    file = tmp_path / "reference.toml"
    file.write_text(block, encoding="utf-8")
    settings = load_settings(file)
    assert settings.kafka.properties["security.protocol"] == "SASL_SSL"
    assert settings.worker.bundle == Path("/models/current")


def test_the_shipped_example_can_be_loaded(monkeypatch):
    monkeypatch.setenv("INNERLOOP_KAFKA__PROPERTIES__SASL_PASSWORD", "from-the-environment")
    settings = load_settings(EXAMPLE)
    assert settings.kafka.properties["sasl.password"] == "from-the-environment"
    assert settings.kafka.consumer_config("g")["fetch.wait.max.ms"] == 50
    assert settings.kafka.replication_factor == 3
    assert settings.worker.bundle is not None


def test_what_the_shipped_example_comments_out_is_right_too(tmp_path):
    text = EXAMPLE.read_text(encoding="utf-8")
    # A commented setting replaces the active one of its name above it, if there is one.
    active = re.sub(r"(?m)^# (?=\[|[a-z_.]+ = )", "", text)
    active = re.sub(r'(?m)^format = "json"\n', "", active)
    assert active.count("\n# ") < text.count("\n# ")
    file = tmp_path / "all.toml"
    file.write_text(active, encoding="utf-8")
    settings = load_settings(file)
    assert len(tomllib.loads(active)) == len(tomllib.loads(text)) + 2  # [privacy], [collector]
    assert settings.wire.format == "avro"
    assert settings.wire.registry_properties == {"ssl.ca.location": "/etc/innerloop/ca.pem"}
    assert settings.worker.variant == "treatment"


def test_the_commands_write_what_they_check(innerloop, tmp_path):
    folder, reference = tmp_path / "files", tmp_path / "configuration.md"
    assert innerloop("schemas", "--out", folder, "--check").exit_code == 1
    assert innerloop("schemas", "--out", folder).exit_code == 0
    assert differences(folder) == []
    assert innerloop("schemas", "--out", folder, "--check").exit_code == 0
    (folder / "trending.avsc").write_text("{}")
    result = innerloop("schemas", "--out", folder, "--check")
    assert result.exit_code == 1
    assert "trending.avsc is not what the types say" in result.output

    assert innerloop("settings", "--out", reference, "--check").exit_code == 1
    assert innerloop("settings", "--out", reference).exit_code == 0
    assert reference.read_text(encoding="utf-8") == configuration_document()
    assert innerloop("settings", "--out", reference, "--check").exit_code == 0
    assert innerloop("settings").output == configuration_document()
    assert innerloop("settings", "--check").exit_code == 2
