"""Puts together the arms for what is to be served, and keeps those that go on."""

from __future__ import annotations

import logging
from dataclasses import replace

from schemas.model_rollout import CandidateMode, CandidateModel
from worker.arm import Arm, ArmParts
from worker.catalogue import Catalogue
from worker.item_sharing.learning import ItemLearning, Learning
from worker.metrics import Variant, WorkerMetrics
from worker.model.interface import AdaptationModel
from worker.rollout.arm_metrics import ArmMetrics
from worker.rollout.arms import Arms, Trial
from worker.rollout.learnings import Observing, TeachingOnly
from worker.rollout.loading import LoadedModel
from worker.rollout.rollout import Served
from worker.rollout.routing import Share
from worker.rollout.stores import ShadowStore
from worker.state.store import StateStore, open_store

_LOG = logging.getLogger(__name__)

_SHADOW_FOLDER = "shadow"


class LineUp:
    """Sets the arms.

    Args:
        arms: to be set.
        parts: what they are made of, with the metrics of the worker and the learning of a model
            that ranks by the item memory.
        catalogue: with the vectors of the first model that is served.
        by_variant: whether quality is to be counted by variant.
    """

    def __init__(
        self, arms: Arms, parts: ArmParts, catalogue: Catalogue, *, by_variant: bool
    ) -> None:
        self._arms = arms
        self._parts = parts
        self._first = catalogue
        self._by_variant = by_variant
        self._catalogues = {catalogue.model_version: catalogue}
        self._metrics: dict[Arm, ArmMetrics] = {}

    def catalogue_of(self, model: AdaptationModel) -> Catalogue:
        """Return the catalogue with a model's vectors; it may not be level, or be empty."""
        if model.version not in self._catalogues:
            self._catalogues[model.version] = self._first.beside(model)
        return self._catalogues[model.version]

    def form(self, served: Served) -> None:
        """Have the arms be those of what is to be served, from the next micro-batch on.

        An arm of a model that goes on serving stays, with its users in its arena.
        """
        models = [served.primary] if served.candidate is None else [
            served.primary, served.candidate[1]
        ]  # fmt: skip
        for loaded in models:
            self.catalogue_of(loaded.model).keep_level()
        self._arms.drop_shadow()  # its folder is wanted
        self._arms.serve(self._canonical(served.primary, None), self._trial(served))
        serving = {loaded.model.version for loaded in models}
        for version, catalogue in self._catalogues.items():
            if version not in serving:
                catalogue.leave_be()
        self._metrics = {a: m for a, m in self._metrics.items() if a in self._arms.canonical()}
        self._tell()

    def keep(self, versions: set[str]) -> None:
        """Forget the vectors of all models but those of these versions."""
        self._catalogues = {v: c for v, c in self._catalogues.items() if v in versions}

    def _trial(self, served: Served) -> Trial | None:
        if served.candidate is None:
            return None
        plan, loaded = served.candidate
        shadow = plan.mode is CandidateMode.SHADOW
        arm = self._shadow(plan, loaded) if shadow else self._canonical(loaded, plan)
        return Trial(arm, Share(plan.salt, plan.percent), shadow)

    def _canonical(self, loaded: LoadedModel, plan: CandidateModel | None) -> Arm:
        """Return the arm of a model that serves, the one there is if it has one."""
        own = self._parts.settings.worker.variant
        label = own if plan is None else plan.variant
        variant = Variant.PRIMARY if plan is None else Variant.CANDIDATE
        for arm in self._arms.canonical():
            if arm.model.version == loaded.model.version:
                arm.call(label)
                if arm in self._metrics:
                    self._metrics[arm].variant = variant
                return arm
        metrics: WorkerMetrics = self._parts.metrics
        if self._by_variant:
            metrics = ArmMetrics(self._parts.metrics, variant, shadow=False)
        arm = self._arm(loaded, label, metrics, self._parts.store, shadow=False)
        if isinstance(metrics, ArmMetrics):
            self._metrics[arm] = metrics
        return arm

    def _shadow(self, plan: CandidateModel, loaded: LoadedModel) -> Arm:
        folder = self._parts.settings.worker.state_folder
        shadows = None if folder is None else folder / _SHADOW_FOLDER
        own = open_store(shadows, sealing=self._parts.sealing)
        store = ShadowStore(own, self._arms.canonical)
        metrics = ArmMetrics(self._parts.metrics, Variant.CANDIDATE, shadow=True)
        return self._arm(loaded, plan.variant, metrics, store, shadow=True)

    def _arm(
        self,
        loaded: LoadedModel,
        label: str,
        metrics: WorkerMetrics,
        store: StateStore,
        *,
        shadow: bool,
    ) -> Arm:
        learning = _learning(self._parts.item_learning, loaded, shadow=shadow)
        parts = replace(self._parts, metrics=metrics, store=store, item_learning=learning)
        return Arm(loaded.model, self.catalogue_of(loaded.model), parts, label)

    def _tell(self) -> None:
        info = self._parts.metrics.model_info
        info.clear()
        for arm in self._arms.serving():
            info.labels(arm.model.version, arm.model.device.type, arm.variant).set(1)


def _learning(learning: Learning | None, loaded: LoadedModel, *, shadow: bool) -> Learning | None:
    if not isinstance(learning, ItemLearning):
        return None
    if loaded.memory is None:
        return None if shadow else TeachingOnly(learning)
    return Observing(learning) if shadow else learning
