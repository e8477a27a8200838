"""The item memory that a bundle brings along, as a worker opens it."""

from __future__ import annotations

from schemas.errors import SettingsError
from schemas.settings import WorkerSettings
from worker.catalogue import Catalogue
from worker.item_memory.config import WINDOW
from worker.item_memory.memory import ItemMemory
from worker.item_memory.warm_up import warm_up
from worker.item_sharing.interface import MemorySource
from worker.model.serving import ServingModel


def memory_source(model: ServingModel, settings: WorkerSettings) -> MemorySource | None:
    """Return where a worker's item memory comes from; None if the bundle has none.

    Items that the memory knows and the catalogue does not hold get a row for the time when it does.

    Raises:
        SettingsError: fewer events are kept of a user than the memory asks for.
    """
    config = model.bundle.manifest.model.memory
    if config is None:
        return None
    needed = max(config.recent, WINDOW + 1)
    if settings.recent_events < needed:
        raise SettingsError(
            f"worker.recent_events is {settings.recent_events}; the bundle's item memory asks for"
            f" a user's last {needed} items: set at least that many"
        )

    def open_memory(catalogue: Catalogue) -> ItemMemory:
        warm_up()
        return model.memory(catalogue.reserve)

    # Training saw what happened before the cut, and nothing at it.
    since_ms = model.bundle.manifest.provenance.cut_time - 1
    return MemorySource(open_memory, since_ms, config)
