"""A plan names a bundle that no trusted key signed: workers go on with the one they have."""

import rollout_parts
from fake_model import FakeModel
from rollout_parts import await_plan, fake_bundle, following, load_fake, publish
from running_worker import wait_until, with_worker
from test_rollout_service import following_settings

from worker.model.signature import generate_key, read_private_key, sign
from worker.rollout.trust import check_trust


def test_only_signed_bundles_are_switched_to(kafka_settings, produce_all, tmp_path, monkeypatch):
    trusted = generate_key(tmp_path / "key")
    settings = with_worker(
        following_settings(kafka_settings, produce_all), follow_models=True, trusted_keys=[trusted]
    )

    def load_trusted(folder):
        check_trust(folder, settings.worker)
        return load_fake(folder)

    monkeypatch.setattr(rollout_parts, "load_fake", load_trusted)
    with following(settings, FakeModel("own")) as worker:
        publish(settings, fake_bundle(tmp_path / "unsigned"))
        refused = "innerloop_rollout_plans_total"
        wait_until(lambda: worker.sample(refused, result="refused") == 1, "a refusal")
        assert worker.sample("innerloop_rollout_switch_seconds_count") == 0
        signed = fake_bundle(tmp_path / "signed", "fake")
        sign(tmp_path / "signed", read_private_key(tmp_path / "key"))
        await_plan(publish(settings, signed), worker)
