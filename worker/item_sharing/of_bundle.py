"""The item memory that a bundle brings along, as a worker opens it."""

from __future__ import annotations

from worker.catalogue import Catalogue
from worker.item_memory.memory import ItemMemory
from worker.item_memory.warm_up import warm_up
from worker.item_sharing.interface import MemorySource
from worker.model.serving import ServingModel


def memory_source(model: ServingModel) -> MemorySource | None:
    """Return where a worker's item memory comes from; None if the bundle has none.

    Items that the memory knows and the catalogue does not hold get a row for the time when it does.
    """
    if not model.has_memory:
        return None

    def open_memory(catalogue: Catalogue) -> ItemMemory:
        warm_up()
        return model.memory(catalogue.reserve)

    # Training saw what happened before the cut, and nothing at it.
    return MemorySource(open_memory, model.bundle.manifest.provenance.cut_time - 1)
