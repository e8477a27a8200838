"""`innerloop observe` says what it lacks; that it works is tested with the demo it watches."""

from prometheus_files import tool
from typer.testing import CliRunner

from schemas.errors import InnerloopError
from worker.cli.app import app


def test_without_prometheus_it_says_what_to_install(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = CliRunner().invoke(app, ["observe", "--folder", str(tmp_path / "demo")])
    assert isinstance(result.exception, InnerloopError)
    assert "apt-get install prometheus" in str(result.exception)
    assert not (tmp_path / "demo").exists()


def test_a_folder_without_rules_is_named(tmp_path) -> None:
    tool("prometheus")
    result = CliRunner().invoke(app, ["observe", "--rules", str(tmp_path)])
    assert isinstance(result.exception, InnerloopError)
    assert "--rules" in str(result.exception)
