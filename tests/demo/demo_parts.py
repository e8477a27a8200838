"""What the demo's tests share."""

from __future__ import annotations

from pathlib import Path

from worker.demo.plan import DemoPlan
from worker.demo.scrape import WorkerSample, parse

RECORDED = (Path(__file__).parent / "data" / "worker_metrics.txt").read_text()
"""Metrics of a worker that had answered 44,444 events of the demo."""


def recorded() -> WorkerSample:
    return parse(RECORDED)


def plan(folder: Path, **changes) -> DemoPlan:
    settings = {
        "folder": folder,
        "data_events": 12_000,
        "events": 2000,
        "rate": 600.0,
        "epochs": 1,
        "seed": 0,
        "fresh": False,
    }
    return DemoPlan(**{**settings, **changes})
