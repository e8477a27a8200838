"""The models of a job: its bundles, with and without the inner loop, and their rivals."""

from __future__ import annotations

import functools
from collections.abc import Callable

from schemas.errors import EvaluationError
from worker.data import ItemTable
from worker.evaluation.adapted import Ablation, AdaptedRecommender, variant_name
from worker.evaluation.job import EvaluationData, EvaluationJob, NamedBundle
from worker.evaluation.rivals import chosen_rivals, rival_contestant
from worker.evaluation.runner import Contestant, OnTrial, Prepared
from worker.model.bundle import Bundle, read_manifest
from worker.model.serving import ServingModel


def contestants(job: EvaluationJob, data: EvaluationData) -> list[Contestant]:
    """Return the models in the order in which reports show them, the reference first.

    Raises:
        BundleError: a bundle is none, or was altered.
        EvaluationError: there is no such rival, nothing to score, or two models of one name.
    """
    found: list[Contestant] = []
    for bundle in job.bundles:
        Bundle(bundle.folder)  # Verified now: a bundle that is refused must not cost hours first.
        found += _of_bundle(bundle, job, data)
    found += [rival_contestant(rival, job, data) for rival in chosen_rivals(job.rivals)]
    if not found:
        raise EvaluationError("nothing to score: give a --bundle, or --rivals other than none")
    names = [contestant.name for contestant in found]
    for name in names:
        if names.count(name) > 1:
            raise EvaluationError(
                f"two models are called {name!r}; give the bundle another name, as in"
                " --bundle another=its/folder"
            )
    return found


def _of_bundle(bundle: NamedBundle, job: EvaluationJob, data: EvaluationData) -> list[Contestant]:
    trained_on_more = _trained_on_more(bundle, job)
    ablations = [Ablation()]
    if job.inner_loop_off and not trained_on_more:
        # One that was trained on more is there to show what could be had, not why.
        ablations = _ablations(bundle, scenarios=data.scenarios is not None)
    model = functools.cache(lambda: ServingModel.load(bundle.folder, job.device))
    variants = [(ablation, 0.0) for ablation in ablations]
    variants += [(Ablation(), diversity) for diversity in job.diversity]
    return [
        Contestant(
            variant_name(bundle.name, ablation, diversity),
            _prepare(bundle, model, job, data.items, ablation=ablation, diversity=diversity),
            trained_on_more,
        )
        for ablation, diversity in variants
    ]


def _ablations(bundle: NamedBundle, *, scenarios: bool) -> list[Ablation]:
    ablations = [Ablation(), Ablation(inner_loop=False)]
    if read_manifest(bundle.folder).model.memory is not None:
        ablations.append(Ablation(memory=False))
        if scenarios:
            # What is left knows of a new scenario what the texts of its items say.
            ablations.append(Ablation(inner_loop=False, memory=False))
    return [*ablations, Ablation(text=False)]


def _trained_on_more(bundle: NamedBundle, job: EvaluationJob) -> bool:
    """Whether a bundle was trained on anything that the first one's training held out."""
    first, this = (
        read_manifest(folder).provenance.held_out
        for folder in (job.bundles[0].folder, bundle.folder)
    )
    if first is None:
        return False
    return this is None or first.column != this.column or not set(first.values) <= set(this.values)


def _prepare(
    bundle: NamedBundle,
    model: Callable[[], ServingModel],
    job: EvaluationJob,
    items: ItemTable,
    *,
    ablation: Ablation,
    diversity: float,
) -> Callable[[OnTrial], Prepared]:
    def prepare(on_trial: OnTrial) -> Prepared:
        loaded = model()
        return Prepared(
            AdaptedRecommender(
                loaded,
                items,
                ablation=ablation,
                exclude_seen=job.exclude_seen,
                diversity=diversity,
                name=bundle.name,
            ),
            trained_seconds=loaded.bundle.manifest.metrics.get("training_seconds"),
            comes_trained=True,
        )

    return prepare
