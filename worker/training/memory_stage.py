"""After the outer loop: build the item memory from the training events and fit the mixer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.data import EventLog
from worker.item_memory.config import MemoryConfig
from worker.item_memory.memory import ItemMemory
from worker.item_memory.occurrences import LogOccurrences
from worker.model.meta_model import MetaRecommender
from worker.model.mixing import mix, walk
from worker.ranking import ranks_in
from worker.ranking_quality import Quality, quality
from worker.split import SCORED_EVENTS, occurrence
from worker.training.memory_pass import mixer_cases
from worker.training.mixer_fit import fit_mixer
from worker.training.sequences import UserStreams

_TREND_EVENTS = 20_000
"""The trend's half-life is the time that this many of the latest events took."""

_WARM_UP = 0.4
"""The mixer is not fitted on the first events, while the memory is emptier than in serving."""

_MOST_CASES = 40_000
"""Events that the mixer is fitted on, at most: about 30 kB each are held."""


@dataclass(frozen=True)
class MemoryStage:
    """What the fit of the mixer needs of a trained dense model."""

    model: MetaRecommender
    log: EventLog
    """All training events, those of the validation users included."""
    held_out: NDArray[np.bool_]
    """Events of the users whom the dense model was not trained on, (len(log),)."""
    vectors: Tensor
    """Of the whole catalogue by item code, (items, d)."""
    anchors: Tensor
    """Vectors of the serving anchors, (M, d)."""
    device: torch.device

    def run(self, rng: np.random.Generator) -> tuple[ItemMemory, Quality]:
        """Fit the mixer; return the memory after all events, and the quality on held-out users.

        The quality is that of the users whom neither the dense model nor the mixer was fitted on.
        """
        config, mixer = self.model.config.memory, self.model.mixer
        assert config is not None and mixer is not None  # the caller asks for a memory
        wanted = self._wanted(rng)
        events = LogOccurrences(self.log, wanted, config.recent)
        memory = ItemMemory(config, len(self.vectors))
        queries = self._queries(wanted)
        users = self.log.users[wanted]
        cases = mixer_cases(events, users, queries, self.vectors, memory)
        unseen = fit_mixer(mixer, cases, rng).numpy()
        scored = np.zeros_like(wanted)
        scored[np.flatnonzero(wanted)[unseen]] = True
        return memory, self._quality(events.wanting(scored), queries[unseen])

    def _wanted(self, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Return which events to fit on, (len(log),)."""
        first = self._first_events()
        wanted: NDArray[np.bool_] = first & (
            self.log.times >= np.quantile(self.log.times, _WARM_UP)
        )
        if not wanted.any():
            # A log so small that nothing is left is better fitted on early events than not at all.
            return first
        if wanted.sum() > _MOST_CASES:
            users, counts = np.unique(self.log.users[wanted], return_counts=True)
            order = rng.permutation(len(users))
            fits = np.cumsum(counts[order]) <= _MOST_CASES
            wanted &= np.isin(self.log.users, users[order[fits]])
        return wanted

    def _first_events(self) -> NDArray[np.bool_]:
        # A user is cold only at first, and the mixer is for that.
        first = self.held_out.copy()
        first[first] = occurrence(self.log.users[first]) < SCORED_EVENTS
        return first

    @torch.no_grad()
    def _queries(self, wanted: NDArray[np.bool_]) -> Tensor:
        """Return the query before each wanted event, in order, (m, d)."""
        of_users = np.isin(self.log.users, np.unique(self.log.users[wanted]))
        first = self._first_events() & of_users
        log = self.log.where(first)
        queries = torch.empty(len(log), self.vectors.shape[1], device=self.device)
        for cpu_batch, rows in UserStreams(log, longest=SCORED_EVENTS).batches_with_rows(256):
            batch = cpu_batch.to(self.device)
            found = self.model.unroll(
                self.vectors[batch.items], batch.types, batch.gaps, self.anchors
            )
            queries[torch.from_numpy(rows).to(self.device)] = found[batch.mask]
        return queries[torch.from_numpy(wanted[first]).to(self.device)]

    @torch.no_grad()
    def _quality(self, events: LogOccurrences, queries: Tensor) -> Quality:
        config, mixer = self.model.config.memory, self.model.mixer
        assert config is not None and mixer is not None
        targets = torch.from_numpy(events.items[events.wanted].astype(np.int64)).to(self.device)
        memory = ItemMemory(config, len(self.vectors))
        ranks = [
            ranks_in(mix(scored, mixer), targets[these])
            for these, scored in walk(events, queries, self.vectors, memory)
        ]
        return quality(torch.cat(ranks).cpu().numpy().astype(np.int32))


def trend_half_life(times: NDArray[np.int64]) -> float:
    """Return the trend's half-life, in seconds, for a log's event times in milliseconds.

    By the number of events and not by the clock, so that a shop with few events has a long one.
    """
    since = times[max(0, len(times) - _TREND_EVENTS)]
    return max(60.0, float(times[-1] - since) / 1000.0)


def memory_config(log: EventLog, neighbours: int) -> MemoryConfig:
    """Return the configuration of a log's memory."""
    return MemoryConfig(neighbours=neighbours, trend_half_life=trend_half_life(log.times))
