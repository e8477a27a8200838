"""Plans on their way: what is prepared beside the stream, what is refused, what is dropped."""

import threading
import time
from pathlib import Path

import pytest
import torch
from fake_model import FakeModel
from rollout_parts import ArmsWorker, NumbModel, OtherModel, fake_bundle, load_fake
from running_worker import wait_until
from worker_parts import event, item

from schemas.errors import BundleError, RolloutError
from schemas.model_rollout import BundleReference, CandidateMode, ModelRollout
from schemas.settings import Settings
from worker.catalogue import ItemChange
from worker.item_memory.config import MemoryConfig
from worker.item_memory.memory import ItemMemory
from worker.item_sharing.interface import MemorySource
from worker.rollout import changes
from worker.rollout.loading import LoadedModel, ModelShelf
from worker.rollout.rehearsal import rehearse
from worker.rollout.rollout import BeginAnewError, Rollout
from worker.rollout.switcher import Switcher

GROUP = "workers"


@pytest.fixture(autouse=True)
def _look_always(monkeypatch):
    monkeypatch.setattr("worker.rollout.switcher._LOOK_EVERY_S", 0.0)


class Plans:
    """Takes the place of the topic."""

    def __init__(self) -> None:
        self.latest: ModelRollout | None = None

    def read(self) -> None: ...

    def publish(self, bundle: BundleReference) -> ModelRollout:
        self.latest = changes.published(self.latest, bundle, group_id=GROUP, own=None, now_ms=1)
        return self.latest

    def try_out(self, bundle: BundleReference, percent: int = 50) -> ModelRollout:
        self.latest = changes.tried(
            self.latest, bundle, group_id=GROUP, mode=CandidateMode.SERVE, percent=percent,
            variant="candidate", now_ms=1,
        )  # fmt: skip
        return self.latest

    def roll_back(self) -> ModelRollout:
        self.latest = changes.rolled_back(self.latest, 1)
        return self.latest


class Stage:
    """A worker without Kafka, and all that a plan goes through."""

    def __init__(self, load, monkeypatch, memory: MemorySource | None = None) -> None:
        self.worker = ArmsWorker(memory=memory)
        self.plans = Plans()
        monkeypatch.setattr("worker.rollout.rollout.PlanLog", lambda _settings: self.plans)
        settings = Settings(worker=self.worker.settings)
        self.rollout = Rollout(settings, ModelShelf(load, self.worker.first), self.worker.metrics)
        self.switches = 0
        self.switcher = Switcher(
            self.rollout, self.worker.line_up, memory, self.worker.metrics, self._switched
        )

    def _switched(self) -> None:
        self.switches += 1

    def settle(self) -> None:
        """Go on until nothing is being prepared."""
        self.switcher.step()
        wait_until(lambda: self.switcher.step() or not self.switcher._preparation, "the end")

    @property
    def version(self) -> str:
        return self.worker.arms.model.version

    def count(self, result: str) -> float:
        value = self.worker.metrics.registry.get_sample_value
        return value("innerloop_rollout_plans_total", {"result": result})


class Gate:
    """A loader that takes as long as the test wants."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.loads: list[str] = []

    def __call__(self, folder: Path) -> LoadedModel:
        self.loads.append(folder.name)
        self.entered.set()
        assert self.open.wait(120)
        return load_fake(folder)


def test_events_go_on_while_a_plan_is_prepared_and_items_that_come_meanwhile_count(
    monkeypatch, tmp_path
):
    monkeypatch.setattr("worker.rollout.preparation._FEW", 3)
    gate = Gate()
    stage = Stage(gate, monkeypatch)
    stage.plans.publish(fake_bundle(tmp_path / "a"))
    stage.switcher.step()
    assert gate.entered.wait(120)
    worker = stage.worker
    for n in range(3):
        stage.switcher.step()
        worker.process([event("u", n, f"i{n}")], first_offset=n)
    assert stage.version == "fake-1"
    gate.open.set()
    stage.settle()
    assert stage.version == "other-a" and stage.switches == 1
    many = [ItemChange(f"i{n}", item(n, title=f"renamed {n}")) for n in range(20, 40)]
    worker.catalogue.apply(many)
    vectors = worker.arms.primary.catalogue.vectors
    expected = OtherModel().item_vectors(["i35"], ["renamed 35"])[0]
    torch.testing.assert_close(vectors[worker.catalogue.row("i35")], expected)


def test_items_are_encoded_in_the_thread_until_few_are_left(monkeypatch, tmp_path):
    monkeypatch.setattr("worker.rollout.preparation._FEW", 3)
    monkeypatch.setattr("worker.rollout.preparation._AT_ONCE", 7)
    threads, new_items = {}, threading.Event()

    class Watched(OtherModel):
        def item_vectors(self, item_ids, texts):
            for text in texts:
                threads[text] = threading.current_thread().name
                assert text != "thing number 29" or new_items.wait(120)
            return super().item_vectors(item_ids, texts)

    stage = Stage(lambda folder: LoadedModel(Watched("other-a"), None), monkeypatch)
    stage.plans.publish(fake_bundle(tmp_path / "a"))
    wait_until(lambda: stage.switcher.step() or "thing number 29" in threads, "the first round")
    new = [ItemChange(f"i{n}", item(n)) for n in range(100, 120)]
    stage.worker.catalogue.apply(new)
    new_items.set()
    stage.settle()
    for text in ("thing number 0", "thing number 29", "thing number 110"):
        assert threads[text].startswith("rollout"), text
    assert len(stage.worker.arms.primary.catalogue.unencoded()) == 0


def test_a_later_plan_takes_the_place_of_one_being_prepared(monkeypatch, tmp_path):
    gate = Gate()
    stage = Stage(gate, monkeypatch)
    a, b = (fake_bundle(tmp_path / name) for name in "ab")
    stage.plans.publish(a)
    stage.switcher.step()
    assert gate.entered.wait(120)
    stage.plans.publish(b)
    threading.Timer(0.1, gate.open.set).start()
    stage.settle()
    assert stage.version == "other-b"
    assert (stage.count("superseded"), stage.count("taken"), stage.switches) == (1, 1, 1)


def test_a_rollback_needs_no_loading_and_encodes_only_what_changed(monkeypatch, tmp_path):
    gate = Gate()
    gate.open.set()
    stage = Stage(gate, monkeypatch)
    a, b = (fake_bundle(tmp_path / name) for name in "ab")
    for bundle in (a, b):
        stage.plans.publish(bundle)
        stage.settle()
    model = stage.rollout.shelf.find(a).model
    model.texts_encoded.clear()
    stage.worker.catalogue.apply([ItemChange("i3", item(3, title="renamed"))])
    assert not model.texts_encoded  # it serves nobody
    stage.plans.roll_back()
    stage.settle()
    assert stage.version == "other-a"
    assert model.texts_encoded == ["renamed"]
    assert gate.loads == ["a", "b"]
    # And back to what the worker was started with; what nobody can want soon is forgotten.
    stage.plans.roll_back()
    stage.settle()
    assert stage.version == "fake-1"
    assert stage.rollout.shelf.find(b) is None


def test_a_refused_plan_is_not_tried_again_and_a_later_one_is(monkeypatch, tmp_path, caplog):
    loads = []

    def load(folder: Path) -> LoadedModel:
        loads.append(folder.name)
        if folder.name == "bug":
            raise ZeroDivisionError("an accident")
        return load_fake(folder)

    stage = Stage(load, monkeypatch)
    stage.plans.publish(fake_bundle(tmp_path / "bug"))
    stage.settle()
    for _ in range(3):
        stage.switcher.step()
    assert stage.version == "fake-1" and stage.count("refused") == 1 and loads == ["bug"]
    assert "ZeroDivisionError: an accident" in caplog.text
    stage.plans.publish(fake_bundle(tmp_path / "a"))
    stage.settle()
    assert stage.version == "other-a"


CONFIGS = [MemoryConfig(neighbours=n, recent=4, trending=4, dense=5) for n in (4, 6)]


def source(place: int) -> MemorySource:
    return MemorySource(lambda _: ItemMemory(CONFIGS[place]), config=CONFIGS[place])


class Mixing(OtherModel):
    """Ranks by a memory, as if it had one."""

    def mix(self, scored):
        return scored.scores


def test_models_with_different_item_memories_are_not_served_side_by_side(
    monkeypatch, tmp_path, caplog
):
    monkeypatch.setattr("worker.rollout.preparation.rehearse", lambda *_: None)
    memories = {"a": None, "b": source(0), "c": source(1)}

    def load(folder: Path) -> LoadedModel:
        return LoadedModel(Mixing(f"other-{folder.name}"), memories[folder.name])

    stage = Stage(load, monkeypatch, memory=source(0))
    a, b, c = (fake_bundle(tmp_path / name) for name in "abc")
    for same in (a, b):
        stage.plans.try_out(same)
        stage.settle()
        assert stage.worker.arms.trial.arm.model.version == same.version
    stage.plans.try_out(c)
    stage.settle()
    assert stage.worker.arms.trial.arm.model.version == b.version
    assert "has other sizes or times than the primary's" in caplog.text
    # To everybody it can be served, by a worker that begins anew with it.
    stage.plans.publish(c)
    with pytest.raises(BeginAnewError):
        stage.settle()


class Forgetful(FakeModel):
    """Its states are not finite."""

    def queries(self, users):
        return super().queries(users) * torch.nan


class Wide(FakeModel):
    """Vectors of a size that is not its own."""

    def item_vectors(self, item_ids, texts):
        return torch.ones(len(texts), self.dim + 1)


@pytest.mark.parametrize("model", [NumbModel("numb"), Forgetful("forgetful")])
def test_a_rehearsal_shows_what_loading_does_not(model):
    settings = Settings()
    with pytest.raises(BundleError, match=r"not finite|ranks fewer items|answer every event"):
        rehearse(LoadedModel(model, None), settings)
    with pytest.raises(RuntimeError):
        rehearse(LoadedModel(Wide("wide"), None), settings)
    rehearse(LoadedModel(OtherModel(), None), settings)


def test_a_session_that_ends_waits_for_the_thread(monkeypatch, tmp_path):
    gate = Gate()
    stage = Stage(gate, monkeypatch)
    stage.plans.publish(fake_bundle(tmp_path / "a"))
    stage.switcher.step()
    assert gate.entered.wait(120)
    begin = time.monotonic()
    threading.Timer(0.2, gate.open.set).start()
    stage.switcher.close()
    assert gate.open.is_set() and time.monotonic() - begin < 100
    stage.switcher.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("rollout")]


def test_a_session_that_begins_anew_serves_what_the_one_before_did(monkeypatch, tmp_path):
    """Also where the latest plan was refused, and the worker was started with no bundle."""
    gate = Gate()
    gate.open.set()
    stage = Stage(gate, monkeypatch)
    stage.plans.read_to_end = lambda: None
    stage.rollout.shelf.own = None
    with pytest.raises(RolloutError, match="there is no plan"):
        stage.rollout.start()
    good, broken = (fake_bundle(tmp_path / kind, kind) for kind in ("other", "damaged"))
    stage.plans.publish(broken)
    with pytest.raises(BundleError, match="is damaged"):
        stage.rollout.start()
    stage.plans.publish(good)
    served = stage.rollout.start()
    stage.rollout.began(served)
    assert served.primary.model.version == good.version and stage.count("taken") == 1
    stage.plans.publish(broken)
    stage.settle()
    assert stage.count("refused") == 1
    for _ in range(2):
        again = stage.rollout.start()
        stage.rollout.began(again)
        assert again is served
    assert (stage.count("refused"), stage.count("taken")) == (1, 1)
    # A plan that comes while nobody looks, and cannot be served, changes nothing either.
    gone = fake_bundle(tmp_path / "gone")
    (tmp_path / "gone" / "manifest.json").unlink()
    stage.plans.publish(gone)
    assert stage.rollout.start() is served
    assert stage.count("refused") == 2
