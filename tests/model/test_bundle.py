"""A bundle is what its manifest says, or it is refused."""

import json
from pathlib import Path

import pytest
import torch

from schemas.errors import BundleError
from worker.model.bundle import (
    ITEMS,
    MANIFEST,
    TEXT_ENCODER,
    WEIGHTS,
    Bundle,
    KnownItems,
    Manifest,
    Provenance,
    new_bundle_folder,
    write_bundle,
)
from worker.model.config import ModelConfig

PROVENANCE = Provenance(
    events_file="events.csv",
    events_sha256="0" * 64,
    items_file="items.csv",
    items_sha256="1" * 64,
    cut=0.75,
    cut_time=1,
    seed=0,
    train_events=2,
    train_users=1,
    settings={"dim": 4},
)


def write(folder: Path, value: float = 1.0) -> Manifest:
    (folder / TEXT_ENCODER).mkdir(parents=True)
    (folder / TEXT_ENCODER / "tokenizer.json").write_text("{}")
    return write_bundle(
        folder,
        model=ModelConfig(dim=4),
        weights={"w": torch.full((2, 3), value)},
        items=KnownItems(item_ids=["a", "b"], counts=[2, 1]),
        provenance=PROVENANCE,
        metrics={"validation_hr@20": 0.5},
        created_at=7,
    )


def test_round_trip(tmp_path: Path) -> None:
    manifest = write(tmp_path)
    bundle = Bundle(tmp_path)
    assert bundle.manifest == manifest
    assert bundle.items().item_ids == ["a", "b"]
    torch.testing.assert_close(bundle.weights()["w"], torch.ones(2, 3))
    assert set(manifest.files) == {WEIGHTS, ITEMS, f"{TEXT_ENCODER}/tokenizer.json"}


def test_version_follows_the_content(tmp_path: Path) -> None:
    versions = [write(tmp_path / str(i), value).version for i, value in enumerate([1.0, 1.0, 2.0])]
    assert versions[0] == versions[1] != versions[2]


@pytest.mark.parametrize("name", [WEIGHTS, ITEMS, f"{TEXT_ENCODER}/tokenizer.json"])
def test_an_altered_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    path = tmp_path / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} differs from the sha256"):
        Bundle(tmp_path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / ITEMS).unlink()
    with pytest.raises(BundleError, match=r"items\.json is missing"):
        Bundle(tmp_path)


def test_a_file_that_the_manifest_does_not_list_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "extra.bin").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"does not list: extra\.bin"):
        Bundle(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "has format 99; this innerloop reads 1"),
        ({"files": {"../outside": "0" * 64, WEIGHTS: "", ITEMS: ""}}, "outside the bundle"),
        ({"files": {}}, f"lists no {WEIGHTS}"),
        ({"version": 3}, r"not a bundle manifest: .*\$\.version"),
    ],
)
def test_a_wrong_manifest_is_refused(tmp_path: Path, change: dict, message: str) -> None:
    write(tmp_path)
    path = tmp_path / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(BundleError, match=message):
        Bundle(tmp_path)


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        Bundle(tmp_path)


def test_a_failed_write_leaves_the_old_bundle(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    with new_bundle_folder(out) as folder:
        old = write(folder)
    with pytest.raises(RuntimeError, match="halfway"), new_bundle_folder(out) as folder:
        write(folder, 2.0)
        raise RuntimeError("halfway")
    assert Bundle(out).manifest.version == old.version
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(BundleError, match=r"has no manifest\.json, so it is not replaced"):
        new_bundle_folder(tmp_path).__enter__()
    assert (tmp_path / "thesis.txt").read_text() == "precious"
