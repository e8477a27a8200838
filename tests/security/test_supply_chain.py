"""What `make audit` does without asking anybody: a bill of materials, and a look for secrets."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from detect_secrets import SecretsCollection
from detect_secrets.settings import transient_settings
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PINS = ROOT / "constraints.txt"

# Detectors of what has a form of its own, and how that begins: few files hold such a thing, so the
# look takes no time. `make audit` has all detectors, also those that guess.
FORMS = {
    "AWSKeyDetector": "AKIA|ASIA",
    "GitLabTokenDetector": "glpat-",
    "JwtTokenDetector": "eyJ",
    "NpmDetector": "_authToken",
    "OpenAIDetector": "sk-",
    "PrivateKeyDetector": "PRIVATE KEY",
    "PypiTokenDetector": "pypi-",
    "SendGridDetector": "SG[.]",
    "SlackDetector": "xox|hooks[.]slack",
    "StripeDetector": "_live_",
}
BEGINNINGS = "|".join(FORMS.values())


def pins() -> set[tuple[str, str]]:
    """Names and versions; some packages have one version for each Python."""
    lines = (line.partition(";")[0].strip() for line in PINS.read_text().splitlines())
    return {tuple(line.split("==")) for line in lines if line and not line.startswith("#")}


def found_in(*paths: Path) -> list[str]:
    secrets = SecretsCollection()
    with transient_settings({"plugins_used": [{"name": name} for name in FORMS]}):
        for path in paths:
            secrets.scan_file(str(path))
    return [f"{path}: {secret.type}" for path, secret in secrets]


def test_the_bill_of_materials_is_valid_and_holds_every_pin(tmp_path):
    out = tmp_path / "sbom.json"
    subprocess.run(
        [
            *(sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", str(PINS)),
            *("--pyproject", str(ROOT / "pyproject.toml"), "--of", "JSON", "--sv", "1.6"),
            *("--validate", "--output-reproducible", "-o", str(out)),
        ],
        check=True,
        capture_output=True,
        timeout=250,
    )
    bill = json.loads(out.read_bytes())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["name"] == "innerloop"
    assert {(part["name"], part["version"]) for part in bill["components"]} == pins()


def test_every_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["dev"], *extras["demo"]]
    names = {canonicalize_name(Requirement(text).name) for text in needed}
    assert len(names) > 40
    assert names <= {name for name, _ in pins()}


def test_no_file_holds_a_secret():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so there is no list of files")
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "grep", "-I", "-l", "-z", "-E", "-e", BEGINNINGS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode > 1:  # 1: no file has any
        pytest.skip(f"git does not tell the files: {listed.stderr}")
    names = [name for name in listed.stdout.split("\0") if name]
    assert found_in(*(ROOT / name for name in names)) == []


@pytest.mark.parametrize(
    "secret",
    [
        "-----BEGIN {} KEY-----".format("PRIVATE"),
        "aws = '{}'".format("AKIA" + "IOSFODNN7EXAMPLE"),
        "token = '{}'".format("xoxb-" + "123456789012-123456789012-abcdefghijklmnopqrstuvwx"),
    ],
)
def test_it_would_be_found(tmp_path, secret):
    file = tmp_path / "settings.py"
    file.write_text(secret)
    assert len(found_in(file)) == 1
