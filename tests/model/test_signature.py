"""Whose bundles are served: those that a trusted key signed, and that nobody touched since."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest
import torch
from test_bundle import write
from typer.testing import CliRunner

from schemas.errors import BundleError, SettingsError
from schemas.settings import WorkerSettings
from worker.cli.app import app
from worker.files import sha256_of
from worker.model.bundle import MANIFEST, SIGNATURES, WEIGHTS, Bundle
from worker.model.signature import (
    check_signature,
    generate_key,
    read_private_key,
    sign,
)
from worker.rollout.loading import ModelShelf, bundle_loader
from worker.rollout.reference import reference_of
from worker.rollout.trust import check_trust


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    write(folder)
    return folder


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, str]:
    """Public keys by name; the private ones lie under the names."""
    return {name: generate_key(tmp_path / name) for name in ("ours", "theirs")}


def signed_by(folder: Path, *names: str) -> None:
    for name in names:
        sign(folder, read_private_key(folder.parent / name))


def test_a_signed_bundle_is_a_bundle_still(bundle, keys):
    before = Bundle(bundle).manifest
    signed_by(bundle, "ours")
    assert Bundle(bundle).manifest == before
    assert check_signature(bundle, [keys["theirs"], keys["ours"]]) == keys["ours"]


def test_one_without_signature_is_refused(bundle, keys):
    with pytest.raises(BundleError, match=r"is not signed: it has no manifest\.sig"):
        check_signature(bundle, [keys["ours"]])


def test_one_signed_by_somebody_else_is_refused(bundle, keys):
    signed_by(bundle, "theirs")
    with pytest.raises(BundleError, match=r"key [0-9a-f]{16}, which .*trusted_keys does not hold"):
        check_signature(bundle, [keys["ours"]])


def test_a_manifest_altered_since_is_refused(bundle, keys):
    signed_by(bundle, "ours")
    manifest = json.loads((bundle / MANIFEST).read_bytes())
    manifest["metrics"]["validation_hr@20"] = 0.9
    (bundle / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"is not what key .* signed"):
        check_signature(bundle, [keys["ours"]])


def test_weights_swapped_together_with_their_digest_are_refused(bundle, keys, tmp_path):
    signed_by(bundle, "ours")
    other = tmp_path / "other"
    write(other, value=2.0)
    for name in (MANIFEST, WEIGHTS):
        (bundle / name).write_bytes((other / name).read_bytes())
    torch.testing.assert_close(Bundle(bundle).weights()["w"], torch.full((2, 3), 2.0))
    with pytest.raises(BundleError, match=r"is not what key .* signed"):
        check_signature(bundle, [keys["ours"]])


def test_a_signature_under_another_s_name_is_refused(bundle, keys):
    signed_by(bundle, "theirs")
    content = json.loads((bundle / SIGNATURES).read_bytes())
    content[0]["key"] = keys["ours"]
    (bundle / SIGNATURES).write_text(json.dumps(content))
    with pytest.raises(BundleError, match=r"is not what key .* signed"):
        check_signature(bundle, [keys["ours"]])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"not json", "is no list of signatures"),
        (b'[{"key": "ed25519:x"}]', "is no list of signatures"),
        (b"[" + b" " * 70_000 + b"]", "is larger than 65536 bytes"),
    ],
)
def test_a_file_that_is_none_is_refused(bundle, keys, content, told):
    (bundle / SIGNATURES).write_bytes(content)
    with pytest.raises(BundleError, match=told):
        check_signature(bundle, [keys["ours"]])


@pytest.mark.parametrize("text", ["", "not base64!", base64.b64encode(b"short").decode()])
def test_a_signature_that_is_none_is_refused(bundle, keys, text):
    content = [{"key": keys["ours"], "signature": text}]
    (bundle / SIGNATURES).write_text(json.dumps(content))
    with pytest.raises(BundleError, match=r"is not what key .* signed"):
        check_signature(bundle, [keys["ours"]])


def test_two_may_sign_while_keys_are_changed(bundle, keys):
    signed_by(bundle, "ours", "theirs", "ours")
    assert len(json.loads((bundle / SIGNATURES).read_bytes())) == 2
    assert check_signature(bundle, [keys["ours"]]) == keys["ours"]
    assert check_signature(bundle, [keys["theirs"]]) == keys["theirs"]


def test_a_private_key_is_its_owner_s_and_never_replaced(tmp_path, keys):
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == 0o600
    with pytest.raises(BundleError, match="cannot be written: File exists"):
        generate_key(tmp_path / "ours")
    (tmp_path / "none").write_text("no key")
    with pytest.raises(BundleError, match=r"none is no private key .*keygen"):
        read_private_key(tmp_path / "none")


def test_workers_load_no_other_bundle(bundle, keys):
    """Neither the one they are started with nor one that a plan names."""
    settings = WorkerSettings(bundle=bundle, trusted_keys=(keys["ours"],))
    with pytest.raises(BundleError, match="is not signed"):
        bundle_loader(settings)(bundle)
    with pytest.raises(BundleError, match="is not signed"):
        ModelShelf(bundle_loader(settings), None).load(reference_of(bundle))


def test_a_pinned_digest_is_that_of_the_manifest(bundle):
    digest = sha256_of(bundle / MANIFEST)
    check_trust(bundle, WorkerSettings(bundle=bundle, bundle_digest=digest))
    pinned = WorkerSettings(bundle=bundle, bundle_digest="0" * 64)
    with pytest.raises(BundleError, match=r"worker\.bundle_digest is 0{64}: the bundle is refused"):
        bundle_loader(pinned)(bundle)


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["models", *map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_from_key_to_verified_by_the_command_line(bundle, tmp_path):
    public = run("keygen", tmp_path / "key").strip().splitlines()[-1]
    assert "is signed by key" in run("sign", bundle, "--key", tmp_path / "key")
    said = run("verify", bundle, "--trusted-key", public)
    assert "signed by key" in said and sha256_of(bundle / MANIFEST) in said
    (bundle / WEIGHTS).write_bytes(b"")
    with pytest.raises(BundleError, match="differs from the sha256"):
        run("verify", bundle, "--trusted-key", public)
    with pytest.raises(BundleError, match="differs from the sha256"):
        run("sign", bundle, "--key", tmp_path / "key")


def test_a_key_that_is_none_is_named(bundle):
    with pytest.raises(SettingsError, match=r"worker\.trusted_keys"):
        run("verify", bundle, "--trusted-key", "ed25519:short")
