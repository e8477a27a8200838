import dataclasses
from pathlib import Path

import msgspec
import pytest
import torch
from demo_parts import plan

from worker.demo.bundle import reusable
from worker.demo.plan import DemoPlan
from worker.files import sha256_of
from worker.model.bundle import MANIFEST, TEXT_ENCODER, KnownItems, Provenance, write_bundle
from worker.model.config import ModelConfig


@pytest.fixture
def trained(tmp_path: Path) -> DemoPlan:
    made = plan(tmp_path)
    made.data.mkdir()
    made.events_file.write_bytes(b"events")
    made.items_file.write_bytes(b"items")
    (made.bundle / TEXT_ENCODER).mkdir(parents=True)
    (made.bundle / TEXT_ENCODER / "tokenizer.json").write_text("{}")
    write_bundle(
        made.bundle,
        model=ModelConfig(dim=4),
        weights={"w": torch.ones(2)},
        items=KnownItems(item_ids=["a"], counts=[1]),
        provenance=Provenance(
            events_file=made.events_file.name,
            events_sha256=sha256_of(made.events_file),
            items_file=made.items_file.name,
            items_sha256=sha256_of(made.items_file),
            cut=0.75,
            cut_time=1,
            seed=0,
            train_events=2,
            train_users=1,
            settings=made.training.model_dump(),
        ),
        metrics={},
        created_at=0,
    )
    return made


def test_the_bundle_of_the_same_data_and_settings_is_kept(trained: DemoPlan) -> None:
    assert reusable(trained)
    assert reusable(dataclasses.replace(trained, events=5, rate=1.0))


@pytest.mark.parametrize("change", [{"seed": 1}, {"epochs": 2}, {"fresh": True}])
def test_other_settings_want_another(trained: DemoPlan, change: dict) -> None:
    assert not reusable(dataclasses.replace(trained, **change))


@pytest.mark.parametrize("name", ["events_file", "items_file"])
def test_other_data_want_another(trained: DemoPlan, name: str) -> None:
    getattr(trained, name).write_bytes(b"other")
    assert not reusable(trained)


def test_another_cut_wants_another(trained: DemoPlan) -> None:
    path = trained.bundle / MANIFEST
    manifest = msgspec.json.decode(path.read_bytes())
    manifest["provenance"]["cut"] = 0.5
    path.write_bytes(msgspec.json.encode(manifest))
    assert not reusable(trained)


def test_a_damaged_or_missing_bundle_wants_another(trained: DemoPlan) -> None:
    (trained.bundle / TEXT_ENCODER / "tokenizer.json").write_text("{ }")
    assert not reusable(trained)
    (trained.bundle / MANIFEST).unlink()
    assert not reusable(trained)
