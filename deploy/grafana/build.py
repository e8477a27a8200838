"""Writes the dashboards in deploy/grafana/dashboards: python deploy/grafana/build.py.

What each shows is said in a file of its own, `*_dashboard.py`; what Grafana wants around it is made
by `panel_parts`. A test compares the files with this, and asks a Prometheus every query.
"""

from __future__ import annotations

import json
from pathlib import Path

from health_dashboard import health
from panel_parts import dashboard
from quality_dashboard import quality
from service_dashboard import service

HERE = Path(__file__).parent / "dashboards"


def dashboards() -> dict[str, str]:
    """Return the content of each file."""
    made = {
        "service": ("innerloop: service", service()),
        "model-quality": ("innerloop: model quality", quality()),
        "pipeline-health": ("innerloop: pipeline health", health()),
    }
    return {
        name: json.dumps(dashboard(f"innerloop-{name}", title, panels), indent=1) + "\n"
        for name, (title, panels) in made.items()
    }


if __name__ == "__main__":
    for file_name, text in dashboards().items():
        (HERE / f"{file_name}.json").write_text(text, encoding="utf-8")
