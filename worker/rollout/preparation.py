"""What a plan takes is made ready in a thread, while the stream goes on with what there is."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from schemas.errors import BundleError, InnerloopError, RolloutError
from schemas.model_rollout import BundleReference, ModelRollout
from schemas.settings import Settings
from worker.catalogue import Catalogue, Unencoded
from worker.model.interface import AdaptationModel
from worker.rollout.loading import LoadedModel, ModelShelf
from worker.rollout.rehearsal import rehearse

_LOG = logging.getLogger(__name__)

_AT_ONCE = 128
"""Items encoded between two looks at whether it is still wanted."""
_FEW = 8
"""So many items that changed in the meantime are left to the switch itself."""


class Preparation:
    """A plan on its way: its models are loaded, rehearsed, and given the vectors of all items.

    Only `step` touches what the stream works with, and it is called between micro-batches.

    Args:
        plan: what is to be served.
        shelf: of models.
        catalogue_of: gives the catalogue with a model's vectors, which may not be level, or is
            empty; the thread fills it.
        settings: all of them.
    """

    def __init__(
        self,
        plan: ModelRollout,
        shelf: ModelShelf,
        catalogue_of: Callable[[AdaptationModel], Catalogue],
        settings: Settings,
    ) -> None:
        self.plan = plan
        self._shelf = shelf
        self._catalogue_of = catalogue_of
        self._settings = settings
        self._cancelled = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rollout")
        self._work: Future[None] | None = None
        self._to_load = [one for one in bundles(plan) if shelf.find(one) is None]
        self.refusal: str | None = None
        """Why the plan cannot be served; None if nothing speaks against it so far."""

    def step(self) -> bool:
        """Go on as far as possible without waiting; tell whether it has come to an end."""
        if self._work is not None:
            if not self._work.done():
                return False
            error = self._work.exception()
            self._work = None
            if error is not None:
                self.refusal = _reason(error)
                return True
        if self._to_load:
            reference = self._to_load.pop(0)
            self._work = self._thread.submit(self._load, reference)
            return False
        for reference in bundles(self.plan):
            loaded = self._shelf.find(reference)
            assert loaded is not None
            catalogue = self._catalogue_of(loaded.model)
            items = catalogue.unencoded()
            if len(items) > _FEW:
                _LOG.info("model %s: %d items to encode", loaded.model.version, len(items))
                self._work = self._thread.submit(self._encode, catalogue, items)
                return False
        return True

    def cancel(self) -> None:
        """Go no further."""
        self._cancelled.set()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def wait(self) -> None:
        """Wait until the thread has come to its end; to be called after `cancel`."""
        self._thread.shutdown(wait=True)

    def _load(self, reference: BundleReference | None) -> None:
        loaded = self._shelf.load(reference)
        rehearse(loaded, self._settings)

    def _encode(self, catalogue: Catalogue, items: Unencoded) -> None:
        for part in items.parts(_AT_ONCE):
            if self._cancelled.is_set():
                return
            catalogue.encode(part)
            if not bool(torch.isfinite(catalogue.vectors_of(part.rows)).all()):
                raise BundleError(
                    "the model gives items of the catalogue vectors of no finite size"
                )


def bundles(plan: ModelRollout) -> list[BundleReference | None]:
    """Return the bundles that a plan serves, the primary first."""
    candidate = [] if plan.candidate is None else [plan.candidate.bundle]
    return [plan.primary, *candidate]


def check_memories(primary: LoadedModel, candidate: LoadedModel) -> None:
    """Check that two models can rank by one item memory.

    Raises:
        RolloutError: they cannot.
    """
    ours, theirs = primary.memory, candidate.memory
    if ours is not None and theirs is not None and ours.config != theirs.config:
        raise RolloutError(
            f"the item memory of model {candidate.model.version} has other sizes or times than the "
            f"primary's ({theirs.config} and {ours.config}), so they cannot be served side by "
            "side; publish it to everybody, without --percent or --shadow"
        )


def _reason(error: BaseException) -> str:
    if not isinstance(error, InnerloopError):
        _LOG.error("a model failed in a way that is a bug, here or in it", exc_info=error)
    return f"{type(error).__name__}: {error}"
