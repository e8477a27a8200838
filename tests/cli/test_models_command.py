"""`innerloop models` on brokers: what it writes, shows and refuses."""

import msgspec
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from schemas.codec import decode_rollout
from schemas.errors import BrokerError, BundleError, RolloutError
from schemas.topics import Topic
from worker.cli.app import app
from worker.files import sha256_of
from worker.kafka_admin import create_topics
from worker.model.bundle import ITEMS, MANIFEST, WEIGHTS, KnownItems, Manifest, Provenance
from worker.model.config import ModelConfig
from worker.rollout.changes import published
from worker.rollout.plan_log import PlanLog
from worker.rollout.reference import check_manifest, reference_of


def write_folder(folder, version: str):
    """Write what passes for a bundle until it is loaded."""
    folder.mkdir()
    save_file({"w": torch.ones(2)}, folder / WEIGHTS)
    (folder / ITEMS).write_bytes(msgspec.json.encode(KnownItems(item_ids=["a"], counts=[1])))
    provenance = Provenance(
        cut=0.75, cut_time=1, seed=0, train_events=1, train_users=1, settings={}
    )
    manifest = Manifest(
        format=1,
        version=version,
        created_at=1,
        model=ModelConfig(dim=4, rank=2, anchors=2),
        provenance=provenance,
        metrics={},
        files={name: sha256_of(folder / name) for name in (WEIGHTS, ITEMS)},
    )
    (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    return folder


@pytest.fixture
def models(embedded_settings, tmp_path):
    """Run `innerloop models …` for the test's own topics; return what it prints."""
    file = tmp_path / "innerloop.toml"
    kafka, group = embedded_settings.kafka, embedded_settings.worker.group_id
    file.write_text(
        f'[kafka]\nbootstrap_servers = "{kafka.bootstrap_servers}"\n'
        f'topic_prefix = "{kafka.topic_prefix}"\n[worker]\ngroup_id = "{group}"\n'
    )

    def run(*arguments: object) -> str:
        command = ["models", *map(str, arguments), "--config", str(file)]
        result = CliRunner().invoke(app, command)
        if result.exception is not None:
            raise result.exception
        assert result.exit_code == 0
        return result.output

    return run


def plans(settings, consume_all):
    return [decode_rollout(m.value()) for m in consume_all(settings, Topic.MODELS)]


def test_a_rollout_from_first_to_last(models, embedded_settings, consume_all, tmp_path):
    create_topics(embedded_settings)
    a, b = (write_folder(tmp_path / name, f"version-{name}") for name in "ab")
    assert "no plan for" in models("status")
    assert f"primary    version-a  {a}" in models("publish", a)
    assert "candidate  version-b" in models("publish", b, "--shadow")
    models("publish", b, "--percent", 10, "--variant", "shop-2")
    models("promote")
    shown = models("status")
    assert f"primary    version-b  {b}" in shown and f"before     version-a  {a}" in shown
    assert f"primary    version-a  {a}" in models("rollback")
    written = plans(embedded_settings, consume_all)
    assert [plan.revision for plan in written] == [1, 2, 3, 4, 5]
    changes = ["published", "tried", "tried", "promoted", "rolled_back"]
    assert [plan.change for plan in written] == changes
    assert [plan.candidate and plan.candidate.variant for plan in written] == [
        None, "candidate", "shop-2", None, None,
    ]  # fmt: skip
    assert {plan.group_id for plan in written} == {embedded_settings.worker.group_id}
    models("rollback")
    with pytest.raises(RolloutError, match="nothing to roll back to"):
        models("rollback")


def test_what_cannot_be_done_is_said_and_nothing_is_written(
    models, embedded_settings, consume_all, tmp_path
):
    create_topics(embedded_settings)
    folder = write_folder(tmp_path / "a", "version-a")
    with pytest.raises(RolloutError, match="no candidate to promote"):
        models("promote")
    with pytest.raises(RolloutError, match="percent is 100; it must be 1 to 99"):
        models("publish", folder, "--percent", 100)
    with pytest.raises(BundleError, match=r"is not a bundle: it has no manifest\.json"):
        models("publish", tmp_path)
    (folder / ITEMS).write_bytes(b"{}")
    with pytest.raises(BundleError, match=r"items\.json differs from the sha256"):
        models("publish", folder)
    (folder / ITEMS).unlink()
    with pytest.raises(BundleError, match=r"items\.json is missing"):
        models("publish", folder)
    assert plans(embedded_settings, consume_all) == []


def test_the_topic_must_be_there(models):
    with pytest.raises(BrokerError, match=r"models does not exist; run `innerloop topics create`"):
        models("status")


def test_a_folder_that_holds_another_bundle_by_now_is_refused(tmp_path):
    reference = reference_of(write_folder(tmp_path / "a", "version-a"))
    assert check_manifest(reference) == tmp_path / "a"
    (tmp_path / "a").rename(tmp_path / "old")
    with pytest.raises(BundleError, match=r"has no manifest\.json on this machine"):
        check_manifest(reference)
    write_folder(tmp_path / "a", "version-b")
    with pytest.raises(BundleError, match="the folder holds another bundle by now"):
        check_manifest(reference)


def test_changes_at_the_same_time_are_noticed_and_garbage_is_passed_over(
    embedded_settings, produce_all, tmp_path
):
    create_topics(embedded_settings)
    group = embedded_settings.worker.group_id
    bundle = reference_of(write_folder(tmp_path / "a", "version-a"))
    produce_all(embedded_settings, Topic.MODELS, [(group, b"garbage"), ("others", b"{}")])
    mine, theirs = PlanLog(embedded_settings), PlanLog(embedded_settings)
    plan = published(None, bundle, group_id=group, own=None, now_ms=1)
    for log in (mine, theirs):
        log.read_to_end()
        assert log.latest is None
    theirs.add(plan)
    with pytest.raises(RolloutError, match="somebody else changed the plan"):
        mine.add(plan)
    assert mine.latest == plan
    for log in (mine, theirs):
        log.close()
