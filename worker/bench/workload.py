"""What a pipeline is benchmarked with: a bundle, the shop of its items, the worker's settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from schemas.settings import Settings
from worker.bench.made_up_bundle import write_made_up_bundle
from worker.bench.report import Value
from worker.bench.shop import Shop
from worker.model.bundle import Bundle


@dataclass(frozen=True)
class Workload:
    """What to run on."""

    bundle: Path | None = None
    """None makes one up."""
    items: int = 48_000
    """Catalogue of a made-up bundle."""
    dim: int = 96
    rank: int = 8
    memory: bool = True
    """Whether a made-up bundle has an item memory."""
    users: int = 20_000
    partitions: int = 8
    seed: int = 0
    settings: Settings = field(default_factory=Settings)
    """Of the worker; brokers, topics and bundle are set by the benchmark."""

    def prepare(self, folder: Path) -> tuple[Path, Shop]:
        """Return the bundle, made in this folder if it is a made-up one, and its shop.

        Raises:
            BundleError: the bundle given is none.
        """
        if self.bundle is not None:
            return self.bundle, shop_of(self.bundle, self.users)
        shop = Shop.of_size(self.items, self.users)
        made = folder / "bundle"
        write_made_up_bundle(
            made, shop, dim=self.dim, rank=self.rank, memory=self.memory, seed=self.seed
        )
        return made, shop

    def described(self) -> dict[str, Value]:
        """Return what a report says of it."""
        made_up: dict[str, Value] = {
            "items": self.items,
            "dim": self.dim,
            "rank": self.rank,
            "item_memory": self.memory,
        }
        return {
            "bundle": "made up" if self.bundle is None else Bundle(self.bundle).manifest.version,
            **(made_up if self.bundle is None else {}),
            "users": self.users,
            "partitions": self.partitions,
            "seed": self.seed,
            "batch_events": self.settings.worker.batch_events,
            "batch_wait_ms": self.settings.worker.batch_wait_ms,
            "worker_threads": self.settings.worker.threads,
        }


def shop_of(bundle: Path, users: int = 1) -> Shop:
    """Return a shop of the items that a bundle knows from training, as popular as they were there.

    Raises:
        BundleError: it is none.
    """
    known = Bundle(bundle).items()
    order = np.argsort(-np.array(known.counts), kind="stable")
    weights = np.array(known.counts, np.float64)[order] + 0.5
    return Shop([known.item_ids[row] for row in order], users, weights)


BIAS = [
    "Broker, worker and driver share the cores named here; on machines of their own all are "
    "faster.",
    "Users act at random and independently: few events of one user fall into one micro-batch.",
    "No searches: the text encoder encodes the catalogue, before anything is timed, and nothing "
    "else.",
    "A made-up bundle has the layout and the sizes of a trained one, and drawn weights.",
]
"""Of every benchmark of the pipeline."""
