"""The files in deploy/ that watch innerloop, and Prometheus' tools to check them with."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
RUNBOOK = ROOT / "docs" / "runbook.md"


def tool(name: str) -> str:
    """Return the path of `prometheus` or `promtool`; without it skip the test, or fail in CI."""
    path = shutil.which(name)
    if path is None:
        reason = f"{name} is not installed (Debian package prometheus)"
        if os.environ.get("CI"):
            pytest.fail(f"{reason} (CI is set, so this is a failure)")
        pytest.skip(reason)
    return path


def promtool(*arguments: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run promtool to its end."""
    return subprocess.run(
        [tool("promtool"), *map(str, arguments)],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def rules(kind: str) -> list[dict[str, Any]]:
    """Return all rules of a kind, `alert` or `record`."""
    groups = [g for file in RULES for g in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def dashboards() -> dict[str, dict[str, Any]]:
    """Return the dashboards by file name."""
    return {file.stem: json.loads(file.read_text()) for file in DASHBOARDS}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a dashboard's panels that show something."""
    found: list[dict[str, Any]] = []
    for panel in dashboard["panels"]:
        found += [panel, *panel.get("panels", [])]
    return [panel for panel in found if panel["type"] not in ("row", "text")]


def names_in(expression: str) -> set[str]:
    """Return the names of our metrics and recorded series, and of processes', in an expression."""
    series = re.sub(r'"[^"]*"', "", expression)
    return set(re.findall(r"\b(?:\w+:)?(?:innerloop|process)_[\w:]+", series))
