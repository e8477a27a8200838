"""Prometheus' configuration for processes of this machine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

_DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = _DEPLOY / "prometheus" / "rules"
"""The rules, where the repository is checked out."""
DASHBOARDS = _DEPLOY / "grafana" / "dashboards"
"""The dashboards, likewise."""

Targets = Mapping[str, Sequence[str]]
"""Addresses, `host:port`, by the name of their job."""


def local_config(targets: Targets, rules: Path, interval: str = "1s") -> str:
    """Return the content of a `prometheus.yml`.

    Args:
        targets: what is scraped.
        rules: folder of rule files, `*.yml`.
        interval: between scrapes, and between evaluations of the rules.
    """
    config = {
        "global": {
            "scrape_interval": interval,
            "scrape_timeout": interval,
            "evaluation_interval": interval,
        },
        "rule_files": [str(rules.resolve() / "*.yml")],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": list(addresses)}]}
            for job, addresses in targets.items()
        ],
    }
    return json.dumps(config, indent=2) + "\n"  # what is JSON is YAML, too
