"""deploy/compose.yaml: valid, pinned, healthy, loopback only, and in step with the product."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from deployment_files import (
    DEPLOY,
    assert_command_exists,
    filled_secrets,
    settings_of,
    tool,
)

from schemas.errors import SettingsError
from schemas.settings import Settings
from worker.health import HEALTH_PATH, READY_PATH

FILES = (DEPLOY / "compose.yaml", DEPLOY / "compose.cuda.yaml")
COMPOSE = yaml.safe_load(FILES[0].read_text())
SERVICES = COMPOSE["services"]
OWN = {name: service for name, service in SERVICES.items() if "innerloop" in service["image"]}
ONE_SHOT = {"topics"}


def ports_of(settings: Settings) -> dict[str, set[int]]:
    return {
        "worker": {settings.metrics.port},
        "collector": {settings.collector.port, settings.collector.metrics_port},
        "insights": {settings.insights.metrics_port},
        "gateway": {settings.gateway.port, settings.gateway.metrics_port},
    }


def judged(*files: Path) -> subprocess.CompletedProcess[str]:
    checker = tool("check-jsonschema", "it is among the development dependencies")
    return subprocess.run(
        [checker, "--builtin-schema", "vendor.compose-spec", *map(str, files)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_follows_the_compose_specification(tmp_path):
    done = judged(*FILES)
    assert done.returncode == 0, done.stdout
    wrong = tmp_path / "compose.yaml"
    wrong.write_text(FILES[0].read_text().replace("read_only: true", "read_onyl: true"))
    assert judged(wrong).returncode == 1


def test_every_image_is_pinned_and_every_service_is_checked():
    for name, service in SERVICES.items():
        image = re.sub(r"^\$\{\w+:-(.+)\}$", r"\1", service["image"])
        assert re.search(r":v?\d+\.\d+\.\d+", image), f"{name}: {image}"
        if name not in ONE_SHOT:
            assert service["healthcheck"]["test"], name


def test_order_follows_what_can_be_awaited():
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            condition = how["condition"]
            if condition == "service_healthy":
                assert "test" in SERVICES[other]["healthcheck"], f"{name} waits for {other}"
            elif condition == "service_completed_successfully":
                assert other in ONE_SHOT
                assert SERVICES[other]["restart"] == "no"
    for name in set(OWN) - ONE_SHOT:
        assert SERVICES[name]["depends_on"]["topics"]["condition"] == (
            "service_completed_successfully"
        )


def test_publishes_on_loopback_only():
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published), published


def test_mounts_files_that_exist_and_volumes_that_are_declared():
    to_prepare = {COMPOSE["secrets"][name]["file"] for name in COMPOSE["secrets"]}
    assert all(re.match(r"\$\{\w+:-\./", file) for file in to_prepare)
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source = re.sub(r"^\$\{\w+:-(.+?)\}", r"\1", volume).split(":")[0]
            if source == "./bundle":
                continue  # the user's own
            if source.startswith("."):
                assert (DEPLOY / source).exists(), f"{name}: {source}"
                assert volume.endswith(":ro")
            else:
                assert source in COMPOSE["volumes"], f"{name}: {source}"
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])


@pytest.mark.parametrize("name", sorted(OWN))
def test_runs_commands_and_settings_that_exist(name, monkeypatch, tmp_path):
    service = OWN[name]
    assert_command_exists(service["command"])
    settings = settings_of(service["environment"], monkeypatch, filled_secrets(tmp_path))
    assert settings.kafka.bootstrap_servers == "kafka:9092"
    if name in ONE_SHOT:
        return
    # What is asked for health listens beyond loopback where others are to reach it.
    kind, program, url = service["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "innerloop-healthcheck")
    asked = urlsplit(url)
    assert asked.port in ports_of(settings)[name]
    assert asked.path in {HEALTH_PATH, READY_PATH}
    for port in service.get("ports", []):
        assert int(port.rsplit(":", 1)[1]) in ports_of(settings)[name]


def test_secrets_that_are_not_filled_in_are_refused(monkeypatch):
    example = DEPLOY / "docker" / "secrets.example.toml"
    with pytest.raises(SettingsError, match="write_keys"):
        settings_of(OWN["collector"]["environment"], monkeypatch, example)


def test_prometheus_scrapes_every_process(monkeypatch, tmp_path):
    settings = settings_of({}, monkeypatch, tmp_path)
    config = yaml.safe_load((DEPLOY / "docker" / "prometheus.yml").read_text())
    scraped = {
        found["names"][0]: found["port"]
        for job in config["scrape_configs"]
        for found in job.get("dns_sd_configs", [])
    }
    assert set(scraped) == set(OWN) - ONE_SHOT
    for name, port in scraped.items():
        assert port in ports_of(settings)[name]


def test_the_worker_on_a_gpu_is_the_same_worker():
    override = yaml.safe_load(FILES[1].read_text())["services"]
    assert set(override) == {"worker"}
    assert override["worker"]["build"]["target"] == "cuda"
