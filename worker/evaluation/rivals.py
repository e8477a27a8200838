"""Which rivals a job asks for, and how they get their settings."""

from __future__ import annotations

from worker.evaluation.baselines import StreamRecommender, default_baselines
from worker.evaluation.job import EvaluationData, EvaluationJob
from worker.evaluation.runner import Contestant, Prepared


def chosen_rivals(wanted: str) -> list[str]:
    """Temporary."""
    names = [method.name for method in default_baselines()]
    if wanted == "none":
        return []
    if wanted in ("fast", "all"):
        return names
    return [name for name in wanted.split(",") if name in names]


def rival_contestant(name: str, job: EvaluationJob, data: EvaluationData) -> Contestant:
    """Temporary."""
    found: StreamRecommender = next(
        m for m in default_baselines(exclude_seen=job.exclude_seen) if m.name == name
    )
    return Contestant(name, lambda: Prepared(found))
