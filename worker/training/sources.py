"""What a model is trained on: events and items from files, or from the history of the topics."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from schemas.settings import Settings
from worker.data import EventLog, ItemTable, load_events, load_items
from worker.model.bundle import TopicRange
from worker.scenarios import ScenarioChoice, Scenarios, find_scenarios
from worker.shards import sha256_of_shards, shards_of
from worker.topic_history import read_history
from worker.training.progress import Progress


@dataclass(frozen=True)
class Origin:
    """Where training data came from, as `worker.model.bundle.Provenance` has it."""

    events_file: str | None = None
    events_sha256: str | None = None
    items_file: str | None = None
    items_sha256: str | None = None
    events_topic: TopicRange | None = None
    items_topic: TopicRange | None = None
    left_out: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingData:
    """A catalogue, the events on it, and where both came from."""

    items: ItemTable
    log: EventLog
    origin: Origin
    held_out: Scenarios | None = None
    """What to leave out of training."""


class TrainingSource(Protocol):
    """Anything that training data can be read from."""

    def read(self, progress: Progress) -> TrainingData:
        """Read it whole.

        Raises:
            InnerloopError: it cannot be read, or holds nothing to train on.
        """
        ...


@dataclass(frozen=True)
class FileSource:
    """Events and items in files, as `worker.data` reads them: one each, or many."""

    events: Path
    items: Path
    hold_out: ScenarioChoice | None = None
    """Scenarios to leave out of training."""

    def read(self, progress: Progress) -> TrainingData:
        """Read the files.

        Raises:
            DataError: the files cannot be used, or hold no such scenario.
        """
        progress.on_phase("reading items", 1)
        items = load_items(self.items)
        shards = shards_of(self.events)
        progress.on_phase("reading events", len(shards))
        log = load_events(self.events, items, on_file=lambda: progress.on_step(1))
        origin = Origin(
            events_file=self.events.name,
            events_sha256=sha256_of_shards(shards),
            items_file=self.items.name,
            items_sha256=sha256_of_shards(shards_of(self.items)),
        )
        held_out = (
            find_scenarios(self.hold_out, self.events, self.items, items, log)
            if self.hold_out
            else None
        )
        return TrainingData(items, log, origin, held_out)


@dataclass(frozen=True)
class TopicSource:
    """The history of `catalog` and `clickstream` on the brokers that the settings name."""

    settings: Settings

    def read(self, progress: Progress) -> TrainingData:
        """Read the topics to the ends that they have now.

        Raises:
            BrokerError: the brokers cannot be reached, or a topic does not exist or cannot be read.
            DataError: the topics hold nothing to train on.
            RegistryError: the schema registry cannot be asked.
            SettingsError: librdkafka refuses a property, or the wire format's settings are wrong.
        """
        history = read_history(self.settings, progress.on_phase, progress.on_step)
        origin = Origin(
            events_topic=history.events_range,
            items_topic=history.items_range,
            left_out=history.left_out,
        )
        return TrainingData(history.items, history.log, origin)
