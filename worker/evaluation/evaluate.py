"""Score bundles and their rivals on the new users of an events file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from worker.evaluation.contestants import contestants
from worker.evaluation.job import EvaluationData, EvaluationJob, load_data
from worker.evaluation.measure import Measurement
from worker.evaluation.new_items import chance
from worker.evaluation.recommended import ItemPopularity, Recommended, describe
from worker.evaluation.report import Protocol, Report
from worker.evaluation.runner import Contestant, ModelRun, Observer, Silent, run_contestant
from worker.evaluation.scenario_report import ScenarioReport
from worker.evaluation.scenarios import ScenarioMeasurement
from worker.evaluation.statistics import CONFIDENCE, DRAWS
from worker.evaluation.top_lists import TopLists
from worker.model.bundle import Bundle


@dataclass(frozen=True)
class Evaluation:
    """An evaluation: what is reported, and what it was made of."""

    report: Report
    runs: list[ModelRun]
    data: EvaluationData


def evaluate(job: EvaluationJob, observer: Observer | None = None) -> Evaluation:
    """Run the protocol.

    Args:
        job: what to evaluate.
        observer: told of the progress.

    Raises:
        BundleError: a bundle cannot be used.
        DataError: a file cannot be used.
        EvaluationError: the job asks for what there is not.
    """
    observer = observer or Silent()
    observer.start("reading events", None)
    data = load_data(job)
    models = contestants(job, data)
    runs = [
        run_contestant(
            model,
            data.cut,
            len(data.items),
            seed=job.seed,
            observer=observer,
            position=f"{number}/{len(models)}",
        )
        for number, model in enumerate(models, start=1)
    ]
    observer.start("measuring", None)
    train = data.cut.train
    popularity = ItemPopularity(np.bincount(train.items, minlength=len(data.items)))
    measurement = Measurement(runs, data.cut, data.segments, popularity, job.seed)
    report = Report(
        models=measurement.models(),
        protocol=_protocol(job, data),
        comparisons=measurement.comparisons(),
        segments=measurement.segment_info(),
        acted_on=_acted_on(data, runs[0], popularity, job.seed),
        chance=chance(len(data.items)),
        scenarios=_scenarios(models, runs, data, job.seed),
    )
    return Evaluation(report, runs, data)


def _scenarios(
    models: list[Contestant], runs: list[ModelRun], data: EvaluationData, seed: int
) -> ScenarioReport | None:
    if data.scenarios is None:
        return None
    measurement = ScenarioMeasurement(runs, data.cut, data.scenarios, seed)
    return measurement.report([model.name for model in models if model.trained_on_more])


def _protocol(job: EvaluationJob, data: EvaluationData) -> Protocol:
    cut = data.cut
    manifest = Bundle(job.bundles[0].folder).manifest if job.bundles else None
    return Protocol(
        events_file=job.events.name,
        items_file=job.items.name,
        cut=job.cut,
        cut_time=cut.time,
        items=len(data.items),
        train_events=len(cut.train),
        stream_events=len(cut.stream),
        scored_users=len(np.unique(cut.stream.users[cut.scored])),
        scored_events=int(cut.scored.sum()),
        exclude_seen=job.exclude_seen,
        bundle_version=manifest.version if manifest else None,
        seed=manifest.provenance.seed if manifest else None,
        evaluation_seed=job.seed,
        confidence=CONFIDENCE,
        bootstrap_draws=DRAWS,
    )


def _acted_on(
    data: EvaluationData, run: ModelRun, popularity: ItemPopularity, seed: int
) -> Recommended:
    """Describe the items that users acted on at the events whose lists were kept."""
    sampled = TopLists(data.cut.scored, seed=seed).rows()
    rows = sampled[run.ranks[sampled] >= 0]
    return describe(data.cut.stream.items[rows][:, None], popularity)
