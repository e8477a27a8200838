"""What the tests of deploy/ share: where the files are, and the tools that judge them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml
from typer.testing import CliRunner

from schemas.settings import Settings, load_settings
from schemas.settings.sources import ENVIRONMENT_PREFIX
from worker.cli.app import app

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "innerloop"
KUBE_VERSIONS = ("1.27", "1.33")
"""The oldest that the chart takes, and a newer one."""


def tool(name: str, how: str) -> str:
    """Return a program's path; skip where it is missing, but fail in CI."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    return found or _missing(name, how)


def custom_resource_schemas() -> Path:
    """Return the folder with the schemas of operators' resources, likewise."""
    folder = Path(sys.prefix) / "kubernetes-models"
    if not (folder / ".installed").is_file():
        _missing("@kubernetes-models", "`make chart-tools` installs it with npm")
    return folder


def _missing(what: str, how: str) -> NoReturn:
    message = f"{what} is not installed: {how}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def helm() -> str:
    return tool("helm", "`make chart-tools` builds it with Go")


def template(values: Mapping[str, Any], folder: Path, kube: str = KUBE_VERSIONS[-1]) -> str:
    """Return what `helm template` makes of the chart with these values."""
    done = attempt(values, folder, kube)
    assert done.returncode == 0, done.stderr
    return done.stdout


def attempt(
    values: Mapping[str, Any], folder: Path, kube: str = KUBE_VERSIONS[-1]
) -> subprocess.CompletedProcess[str]:
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(dict(values)))
    command = [helm(), "template", "shop", str(CHART), "--namespace", "shop", "-f", str(file)]
    return subprocess.run(
        [*command, "--kube-version", f"{kube}.0"],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def manifests(rendered: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(rendered) if document]


def pod_specs(documents: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the component and the pod's specification of everything that runs pods."""
    for document in documents:
        template = document.get("spec", {}).get("template")
        if template is not None:
            yield template["metadata"]["labels"]["app.kubernetes.io/component"], template["spec"]


def settings_of(
    variables: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, config: Path
) -> Settings:
    """Return the settings that a process with these environment variables would have.

    Args:
        variables: of the container; a file that they name stands for `config`.
        monkeypatch: sets them, and removes those of innerloop that are set here.
        config: TOML file.
    """
    for name in [name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX)]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if "INNERLOOP_CONFIG" in variables:
        monkeypatch.setenv("INNERLOOP_CONFIG", str(config))
    return load_settings()


def assert_command_exists(arguments: list[str]) -> None:
    """Check that `innerloop ARGUMENTS` is a command, by asking for its help."""
    result = CliRunner().invoke(app, [*arguments, "--help"])
    assert result.exit_code == 0, f"innerloop {' '.join(arguments)}: {result.output}"
    assert "Usage:" in result.output


def filled_secrets(folder: Path) -> Path:
    """Return the example of secret settings with its empty values filled in."""
    example = (DEPLOY / "docker" / "secrets.example.toml").read_text()
    filled = folder / "innerloop.toml"
    filled.write_text(example.replace('""', f'"{"s3cret-" * 6}"'))
    return filled
