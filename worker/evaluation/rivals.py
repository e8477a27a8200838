"""Which rivals a job asks for, and how they get their settings."""

from __future__ import annotations

from schemas.errors import EvaluationError
from worker.evaluation.baselines import RIVALS, Rival, tuned
from worker.evaluation.job import EvaluationData, EvaluationJob
from worker.evaluation.runner import Contestant, OnTrial, Prepared

ALL = "all"
NONE = "none"


def chosen_rivals(wanted: str) -> list[Rival]:
    """Return the rivals asked for, in the registry's order.

    Args:
        wanted: `ALL`, `NONE`, or groups and names of rivals with commas between.

    Raises:
        EvaluationError: there is no such group or rival.
    """
    names = [name.strip() for name in wanted.split(",")]
    groups = list(dict.fromkeys(rival.group for rival in RIVALS.values()))
    if wanted == NONE:
        return []
    for name in names:
        if name not in (ALL, *groups, *RIVALS):
            raise EvaluationError(
                f"--rivals {name!r}: there is no such rival; right would be {', '.join(groups)},"
                f" {ALL}, {NONE}, or some of {', '.join(RIVALS)}"
            )
    return [
        rival
        for rival in RIVALS.values()
        if ALL in names or rival.group in names or rival.name in names
    ]


def rival_contestant(rival: Rival, job: EvaluationJob, data: EvaluationData) -> Contestant:
    """Return a rival to be tuned, or with its first settings, as the job says."""

    def prepare(on_trial: OnTrial) -> Prepared:
        train, n_items = data.cut.train, len(data.items)
        if not job.tune:
            first, *_ = rival.candidates(
                exclude_seen=job.exclude_seen, seed=job.seed, device=job.device
            )
            return Prepared(first)
        method, record = tuned(
            rival,
            train,
            n_items,
            exclude_seen=job.exclude_seen,
            seed=job.seed,
            device=job.device,
            on_trial=on_trial,
        )
        return Prepared(method, trials=record.trials, tuning_seconds=record.seconds)

    return Contestant(rival.name, prepare)
