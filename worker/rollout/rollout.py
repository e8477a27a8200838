"""What a worker is to serve, from its start and from one session to the next."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from schemas.errors import InnerloopError, RolloutError
from schemas.model_rollout import BundleReference, CandidateModel, ModelRollout
from schemas.settings import Settings
from worker.item_sharing.interface import MemorySource
from worker.metrics import RolloutResult, WorkerMetrics
from worker.rollout.loading import LoadedModel, ModelShelf
from worker.rollout.plan_log import PlanLog
from worker.rollout.preparation import check_memories

_LOG = logging.getLogger(__name__)

NO_PLAN = 0
"""Revision of what a worker serves of its own accord."""


class BeginAnewError(InnerloopError):
    """What is to be served takes another item memory, with which a worker can only begin."""


@dataclass(frozen=True)
class Served:
    """Models to serve."""

    revision: int
    """Of the plan."""
    primary: LoadedModel
    candidate: tuple[CandidateModel, LoadedModel] | None = None

    @property
    def memory(self) -> MemorySource | None:
        """The item memory that they rank by; None if none of them does."""
        if self.primary.memory is not None or self.candidate is None:
            return self.primary.memory
        return self.candidate[1].memory


class Rollout:
    """Follows the plans of the worker's group.

    Args:
        settings: all of them.
        shelf: of models.
        metrics: of the rollout.

    Raises:
        BrokerError: the topic does not exist, or the brokers cannot be reached.
    """

    def __init__(self, settings: Settings, shelf: ModelShelf, metrics: WorkerMetrics) -> None:
        self.settings = settings
        self.shelf = shelf
        self._metrics = metrics
        self._log = PlanLog(settings)
        self.considered: ModelRollout | None = None
        """The latest plan that was taken up, served or not."""
        self._taken: ModelRollout | None = None
        self._refused: ModelRollout | None = None
        self._serving: Served | None = None

    def start(self) -> Served:
        """Return what to begin a session with, its models loaded.

        A plan that cannot be served is refused: its candidate, if only that is at fault, else
        altogether. In its place comes what was served before or what the worker was started with.

        Raises:
            InnerloopError: the plan's primary cannot be loaded, and there is none to begin with.
            RolloutError: there is neither a plan nor a bundle.
        """
        self._log.read_to_end()
        plan = self.considered = self.latest()
        before = self._serving
        if before is None and self.shelf.own is not None:
            before = Served(NO_PLAN, self.shelf.own)
        if plan is None:
            if before is None:
                raise RolloutError(
                    f"there is no plan for {self.settings.worker.group_id} and worker.bundle is "
                    "not set; name a bundle with --bundle, or publish one (innerloop models)"
                )
            return before
        if plan == self._refused and self._serving is not None:
            return self._serving
        try:
            self._at_hand(plan.primary)
        except InnerloopError as error:
            if before is None:
                raise
            self.refuse(plan, f"{type(error).__name__}: {error}")
            return before
        try:
            if plan.candidate is not None:
                self._at_hand(plan.candidate.bundle)
            return self.served(plan)
        except InnerloopError as error:
            self.refuse(plan, f"{type(error).__name__}: {error}")
            return Served(NO_PLAN, self._found(plan.primary))

    def latest(self) -> ModelRollout | None:
        """Read on, without waiting, and return the group's latest plan.

        Raises:
            BrokerError: the topic cannot be read.
        """
        self._log.read()
        plan = self._log.latest
        self._metrics.rollout_desired_revision.set(NO_PLAN if plan is None else plan.revision)
        return plan

    def served(self, plan: ModelRollout) -> Served:
        """Return the models of a plan, which are on the shelf.

        Raises:
            RolloutError: they cannot be served side by side.
        """
        primary = self._found(plan.primary)
        if plan.candidate is None:
            return Served(plan.revision, primary)
        candidate = self._found(plan.candidate.bundle)
        check_memories(primary, candidate)
        return Served(plan.revision, primary, (plan.candidate, candidate))

    def refuse(self, plan: ModelRollout, reason: str) -> None:
        """Note that a plan is not served, and why."""
        self._refused = plan
        self._metrics.rollout_plans.labels(RolloutResult.REFUSED.value).inc()
        _LOG.error("plan %d of models is refused: %s", plan.revision, reason)

    def began(self, served: Served) -> None:
        """Note what a session begins with."""
        plan = self.considered
        if plan is not None and plan != self._refused and plan.revision == served.revision:
            self.took(plan, served)
        else:
            self._serving = served
            self._metrics.rollout_revision.set(served.revision)

    def took(self, plan: ModelRollout, served: Served) -> None:
        """Note that a plan is served, and forget models that are not wanted any more."""
        self._serving = served
        self._metrics.rollout_revision.set(plan.revision)
        if plan != self._taken:  # else it is begun anew
            self._metrics.rollout_plans.labels(RolloutResult.TAKEN.value).inc()
            self._taken = plan
        self.shelf.keep(wanted(plan))

    def close(self) -> None:
        """Stop following."""
        self._log.close()

    def _at_hand(self, reference: BundleReference | None) -> LoadedModel:
        return self.shelf.find(reference) or self.shelf.load(reference)

    def _found(self, reference: BundleReference | None) -> LoadedModel:
        found = self.shelf.find(reference)
        assert found is not None, "the model is not loaded"
        return found


def wanted(plan: ModelRollout) -> list[BundleReference | None]:
    """Return the bundles to have at hand: what is served, and what a rollback goes back to."""
    candidate = [] if plan.candidate is None else [plan.candidate.bundle]
    return [plan.primary, *candidate, *plan.previous[:1]]
