"""Models by the bundles that plans name: loaded once, and kept while they may be wanted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import RolloutError
from schemas.model_rollout import BundleReference
from schemas.settings import WorkerSettings
from worker.item_sharing.interface import MemorySource
from worker.model.interface import AdaptationModel
from worker.rollout.reference import check_manifest
from worker.rollout.trust import check_trust

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedModel:
    """A model, and the item memory of its bundle."""

    model: AdaptationModel
    memory: MemorySource | None
    """None if there is none, or worker.item_memory is off."""


ModelLoader = Callable[[Path], LoadedModel]
"""Verifies and loads the bundle in a folder; raises an `InnerloopError` if it cannot be used."""


def bundle_loader(settings: WorkerSettings) -> ModelLoader:
    """Return what loads bundles as a worker serves them."""

    def load(folder: Path) -> LoadedModel:
        check_trust(folder, settings)
        # Imported only here: they load torch's and onnxruntime's libraries.
        from worker.item_sharing.of_bundle import memory_source  # noqa: PLC0415
        from worker.model.serving import ServingModel  # noqa: PLC0415

        model = ServingModel.load(folder, settings.device, threads=settings.threads)
        memory = memory_source(model, settings) if settings.item_memory else None
        return LoadedModel(model, memory)

    return load


class ModelShelf:
    """The models at hand.

    Args:
        load: loads a bundle.
        own: what the worker was started with; None if with nothing.
    """

    def __init__(self, load: ModelLoader, own: LoadedModel | None) -> None:
        self._load = load
        self.own = own
        self._models: dict[str, LoadedModel] = {}

    def find(self, reference: BundleReference | None) -> LoadedModel | None:
        """Return a model if it is at hand; None stands for what the worker was started with."""
        if reference is None:
            return self.own
        if self.own is not None and self.own.model.version == reference.version:
            return self.own
        return self._models.get(reference.version)

    def load(self, reference: BundleReference | None) -> LoadedModel:
        """Verify and load a bundle, and put it on the shelf.

        Raises:
            InnerloopError: it cannot be used, or the worker was started with nothing to go back to.
        """
        if reference is None:
            raise RolloutError(
                "the plan is to serve what workers were started with, and this one was started "
                "with no bundle (worker.bundle)"
            )
        loaded = self._load(check_manifest(reference))
        if loaded.model.version != reference.version:
            raise RolloutError(
                f"{reference.folder} is version {loaded.model.version}, and {reference.version} "
                "was published"
            )
        _LOG.info("model %s is loaded from %s", reference.version, reference.folder)
        self._models[reference.version] = loaded
        return loaded

    def keep(self, references: Iterable[BundleReference | None]) -> None:
        """Forget the models of all other bundles but what the worker was started with."""
        wanted = {reference.version for reference in references if reference is not None}
        self._models = {v: loaded for v, loaded in self._models.items() if v in wanted}
