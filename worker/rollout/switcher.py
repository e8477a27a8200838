"""Changes what is served between two micro-batches, once what a plan takes is ready."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from schemas.errors import RolloutError
from schemas.model_rollout import ModelRollout
from worker.item_sharing.interface import MemorySource
from worker.metrics import RolloutResult, WorkerMetrics
from worker.rollout.line_up import LineUp
from worker.rollout.preparation import Preparation
from worker.rollout.rollout import BeginAnewError, Rollout, Served, wanted

_LOG = logging.getLogger(__name__)


_LOOK_EVERY_S = 0.2
"""A look at the topic costs as much as some events do."""


class Switcher:
    """Takes up the plans of the group as they come; asked once between two micro-batches.

    Args:
        rollout: the plans.
        line_up: sets the arms.
        memory: of the session; None if it has none.
        metrics: of the rollout.
        switched: called when the arms are others.
    """

    def __init__(
        self,
        rollout: Rollout,
        line_up: LineUp,
        memory: MemorySource | None,
        metrics: WorkerMetrics,
        switched: Callable[[], None],
    ) -> None:
        self._rollout = rollout
        self._line_up = line_up
        self._memory = memory
        self._metrics = metrics
        self._switched = switched
        self._preparation: Preparation | None = None
        self._begun = 0.0
        self._looked = 0.0

    def step(self) -> None:
        """Take up a new plan, or go on with one, without waiting.

        Raises:
            BeginAnewError: the plan is ready, and takes another item memory than the session's.
            BrokerError: the topic cannot be read.
        """
        now = time.monotonic()
        if now - self._looked >= _LOOK_EVERY_S:
            self._looked = now
            plan = self._rollout.latest()
            if plan is not None and plan != self._rollout.considered:
                self._begin(plan)
        preparation = self._preparation
        if preparation is not None and preparation.step():
            self._preparation = None
            preparation.cancel()
            self._finish(preparation)

    def close(self) -> None:
        """Leave what is being prepared, and wait until it has come to its end."""
        if self._preparation is not None:
            self._preparation.cancel()
            self._preparation.wait()
            self._preparation = None

    def _begin(self, plan: ModelRollout) -> None:
        _LOG.info("plan %d of models: being prepared", plan.revision)
        if self._preparation is not None:
            # Its thread may be filling vectors that the new plan wants, too.
            self.close()
            self._metrics.rollout_plans.labels(RolloutResult.SUPERSEDED.value).inc()
        self._rollout.considered = plan
        self._begun = time.monotonic()
        self._preparation = Preparation(
            plan, self._rollout.shelf, self._line_up.catalogue_of, self._rollout.settings
        )

    def _finish(self, preparation: Preparation) -> None:
        plan = preparation.plan
        if preparation.refusal is not None:
            self._rollout.refuse(plan, preparation.refusal)
            return
        try:
            served = self._rollout.served(plan)
        except RolloutError as error:
            self._rollout.refuse(plan, str(error))
            return
        self._metrics.rollout_prepare_seconds.observe(time.monotonic() - self._begun)
        if not self._remembers(served):
            raise BeginAnewError(f"plan {plan.revision} takes an item memory of other sizes")
        self._switch(plan, served)

    def _remembers(self, served: Served) -> bool:
        """Whether the session's item memory is one that the models can rank by."""
        if served.memory is None:
            return True
        return self._memory is not None and self._memory.config == served.memory.config

    def _switch(self, plan: ModelRollout, served: Served) -> None:
        begin = time.perf_counter()
        self._line_up.form(served)  # what its arms are made of was compiled in rehearsals
        self._switched()
        seconds = time.perf_counter() - begin
        self._metrics.rollout_switch_seconds.observe(seconds)
        self._rollout.took(plan, served)
        own = self._rollout.shelf.own
        kept = {one.version for one in wanted(plan) if one is not None}
        self._line_up.keep(kept if own is None else kept | {own.model.version})
        candidate = served.candidate
        _LOG.info(
            "plan %d of models is served, %.1f ms between two micro-batches: primary %s%s",
            plan.revision,
            1000 * seconds,
            served.primary.model.version,
            ""
            if candidate is None
            else f", candidate {candidate[1].model.version} "
            f"({candidate[0].mode.value}, {candidate[0].percent} %)",
        )
