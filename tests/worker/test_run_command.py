"""`innerloop worker` says what is missing before it does anything."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from schemas.errors import BundleError, SettingsError
from worker.cli.app import app


def fail(*arguments: str) -> BaseException:
    result = CliRunner().invoke(app, ["worker", *arguments])
    assert result.exit_code != 0
    return result.exception


def test_without_a_bundle_it_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    error = fail()
    assert isinstance(error, SettingsError)
    assert "--bundle" in str(error) and "innerloop train" in str(error)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path):
    error = fail("--bundle", str(tmp_path))
    assert isinstance(error, BundleError)


def test_an_unknown_device_names_the_setting(tmp_path: Path):
    error = fail("--bundle", str(tmp_path), "--device", "tpu")
    assert isinstance(error, SettingsError)
    assert "worker.device" in str(error)
