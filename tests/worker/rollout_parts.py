"""Models that are folders of a few bytes, arms without Kafka, and workers that follow plans."""

import json
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from fake_model import FakeModel
from recording_learner import recording
from running_worker import RunningWorker, wait_until
from worker_parts import NOW_MS, Journal, item, messages

from schemas.clickstream import ClickstreamEvent
from schemas.codec import JsonCodec
from schemas.errors import BundleError
from schemas.model_rollout import (
    BundleReference,
    CandidateMode,
    CandidateModel,
    ModelRollout,
)
from schemas.settings import Settings, WorkerSettings
from worker.arm import ArmParts
from worker.catalogue import Catalogue, ItemChange
from worker.coalescing.owed import Owed
from worker.files import sha256_of
from worker.item_sharing.interface import MemorySource
from worker.item_sharing.learning import ItemLearning
from worker.item_sharing.log import TransitionLog
from worker.metrics import WorkerMetrics
from worker.micro_batch import BatchProcessor, wall_clock_ms
from worker.rollout import changes
from worker.rollout.arms import Arms
from worker.rollout.line_up import LineUp
from worker.rollout.loading import LoadedModel
from worker.rollout.plan_log import PlanLog
from worker.rollout.rollout import Served
from worker.rollout.stores import SharedStore
from worker.service import WorkerService
from worker.stages.decode import Decoder
from worker.state.sealing import PLAIN, Sealing
from worker.state.store import MemoryStore, StateStore


class OtherModel(FakeModel):
    """Adapts otherwise, in another number of dimensions."""

    dim = 12

    def __init__(self, version: str = "other-1") -> None:
        super().__init__(version)

    def adapt(self, users, targets, types, gaps):
        return super().adapt(users, 0.5 * targets, types, gaps)


class NumbModel(FakeModel):
    """Has no finite answer to anything."""

    def item_vectors(self, item_ids, texts):
        return torch.full((len(texts), self.dim), torch.nan)


KINDS = {"fake": FakeModel, "other": OtherModel, "numb": NumbModel}


def fake_bundle(folder: Path, kind: str = "other", *, memory: bool = False) -> BundleReference:
    """Write a folder that `load_fake` makes a model of, with an item memory or without."""
    folder.mkdir()
    version = f"{kind}-{folder.name}"
    manifest = {"version": version, "kind": kind, "memory": memory}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return reference_to(folder, version)


def reference_to(folder: Path, version: str) -> BundleReference:
    return BundleReference(
        version=version, folder=str(folder), manifest_sha256=sha256_of(folder / "manifest.json")
    )


def load_fake(folder: Path) -> LoadedModel:
    manifest = json.loads((folder / "manifest.json").read_text())
    if manifest["kind"] not in KINDS:
        raise BundleError(f"{folder} is {manifest['kind']}")
    memory = recording() if manifest["memory"] else None
    return LoadedModel(KINDS[manifest["kind"]](manifest["version"]), memory)


def tried(model: FakeModel, percent: int, mode=CandidateMode.SERVE, salt: str = "s"):
    reference = BundleReference(version=model.version, folder="/x", manifest_sha256="0" * 64)
    return CandidateModel(
        bundle=reference, mode=mode, percent=percent, salt=salt, variant="candidate"
    ), LoadedModel(model, None)


@dataclass
class ArmsWorker:
    """A worker with arms and without Kafka clients."""

    model: FakeModel = field(default_factory=FakeModel)
    settings: WorkerSettings = field(
        default_factory=lambda: WorkerSettings(top_k=5, recent_events=8)
    )
    items: int = 30
    memory: MemorySource | None = None
    journal: Journal = field(default_factory=Journal)
    base: StateStore = field(default_factory=MemoryStore)
    sealing: Sealing = PLAIN
    now_s: float = 0.0
    """By the clock that the least interval between a user's answers goes by."""

    def __post_init__(self) -> None:
        self.metrics = WorkerMetrics()
        self.catalogue = Catalogue(self.model, capacity=2)
        self.catalogue.apply([ItemChange(f"i{n}", item(n)) for n in range(self.items)])
        self.item_learning = self._open_memory()
        codec = JsonCodec()
        self.owed = None
        if self.settings.coalesces:
            interval_s = self.settings.min_interval_ms / 1000
            self.owed = Owed(interval_s, self.metrics, lambda: self.now_s)
        self.arms = Arms(self.base, self.metrics, self.owed)
        parts = ArmParts(
            settings=Settings(worker=self.settings),
            codec=codec,
            metrics=self.metrics,
            store=SharedStore(self.base, self.arms.canonical),
            item_learning=self.item_learning,
            now_ms=lambda: NOW_MS,
            sealing=self.sealing,
        )
        self.line_up = LineUp(self.arms, parts, self.catalogue, by_variant=True)
        self.first = LoadedModel(self.model, self.memory)
        self.form(self.first)
        self.processor = BatchProcessor(
            decoder=Decoder(
                codec, max_bytes=65_536, max_future_ms=86_400_000, now_ms=lambda: NOW_MS
            ),
            answering=self.arms,
            records=self.journal,
            offsets=self.journal,
            metrics=self.metrics,
            dead_letter_topic="clickstream.dlq",
            item_learning=self.item_learning,
            owed=self.owed,
            now_ms=lambda: NOW_MS,
        )

    def form(self, primary: LoadedModel, candidate=None) -> None:
        self.line_up.form(Served(1, primary, candidate))

    def process(self, events: Sequence[ClickstreamEvent], **where: int) -> None:
        self.processor.process(messages(events, **where))

    def _open_memory(self) -> ItemLearning | None:
        if self.memory is None:
            return None
        learning = ItemLearning(
            self.memory,
            self.catalogue,
            TransitionLog("item-transitions", 3, 1000),
            self.metrics,
            max_future_ms=86_400_000,
            now_ms=lambda: NOW_MS,
        )
        learning.open()
        return learning


class FollowingWorker(RunningWorker):
    """A worker in a thread that follows plans, of fake bundles."""

    def __init__(self, settings: Settings, model: FakeModel | None) -> None:
        super().__init__(settings)
        self.service = WorkerService(settings, model, load=load_fake)

    @property
    def revision(self) -> float:
        return self.sample("innerloop_rollout_revision")


@contextmanager
def following(settings: Settings, model: FakeModel | None = None):
    worker = FollowingWorker(settings, model)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


def change(settings: Settings, make, *arguments, **named) -> ModelRollout:
    """Change the plan of the group by one of `worker.rollout.changes`; return the new one."""
    log = PlanLog(settings)
    try:
        log.read_to_end()
        plan = make(log.latest, *arguments, now_ms=wall_clock_ms(), **named)
        log.add(plan)
    finally:
        log.close()
    return plan


def publish(settings: Settings, bundle: BundleReference) -> ModelRollout:
    group = settings.worker.group_id
    return change(settings, changes.published, bundle, group_id=group, own=None)


def try_out(settings: Settings, bundle: BundleReference, percent: int, mode=CandidateMode.SERVE):
    group = settings.worker.group_id
    return change(
        settings,
        changes.tried,
        bundle,
        group_id=group,
        mode=mode,
        percent=percent,
        variant="candidate",
    )


def await_plan(plan: ModelRollout, *workers: FollowingWorker) -> None:
    wait_until(lambda: all(w.revision == plan.revision for w in workers), "the plan served")
