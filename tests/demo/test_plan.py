"""The demo's commands, and those that it recommends, are commands that exist."""

import shlex
from pathlib import Path

import pytest
import typer
from demo_parts import plan

from schemas.settings import TrainingSettings, load_settings
from worker.broker.embedded import CONSUMER_PROPERTIES
from worker.cli.app import app
from worker.demo.summary import next_steps

ROOT = typer.main.get_command(app)


def parse(arguments: list[str]) -> dict:
    """Parse a command line as `innerloop` does, without running it; return its parameters."""
    command = ROOT
    while hasattr(command, "commands"):
        name, *arguments = arguments
        command = command.commands[name]
    with command.make_context(command.name, list(arguments)) as parsed:
        return parsed.params


def test_every_step_is_a_command(tmp_path: Path) -> None:
    made = plan(tmp_path, events=77, rate=12.5, seed=3, epochs=2)
    steps = [
        made.dataset_command(),
        made.train_command(),
        made.broker_command(),
        made.topics_command("h:1"),
        made.catalog_command("h:1"),
        made.worker_command("h:1", 8),
        made.replay_command("h:1"),
        made.collector_command("h:1", "http://h:4"),
        made.gateway_command("h:1", "http://h:4"),
        made.storefront_command("h:1", 4, "http://h:2", "http://h:3"),
    ]
    dataset, train, _, topics, catalog, worker, replay, *page = map(parse, steps)
    collector, gateway, storefront = page
    assert collector["allow_origin"] == gateway["allow_origin"] == ["http://h:4"]
    assert (storefront["collector"], storefront["gateway"]) == ("http://h:2", "http://h:3")
    assert storefront["port"] == 4
    assert (dataset["events"], dataset["seed"]) == (12_000, 3)
    assert (train["events"], train["items"]) == (made.events_file, made.items_file)
    assert (train["epochs"], train["seed"], train["out"]) == (2, 3, made.bundle)
    assert (worker["metrics_port"], worker["bundle"]) == (8, made.bundle)
    assert (replay["users"], replay["limit"], replay["rate"]) == ("new", 77, 12.5)
    assert (replay["catalog"], catalog["catalog_only"]) == (False, True)
    assert train["cut"] == replay["cut"] == 0.75
    for step in (topics, catalog, worker, replay, *page):
        assert step["bootstrap_servers"] == "h:1"
        assert step["config"] == made.config
    assert "--limit" not in plan(tmp_path, events=None).replay_command("h:1")


def test_what_to_try_next_can_be_tried(tmp_path: Path) -> None:
    steps = next_steps(plan(tmp_path / "with space"), ".venv/bin/innerloop")
    ours = [
        part.strip()
        for _, commands in steps
        for command in commands
        for part in command.split("&&")
        if part.strip().startswith(".venv/bin/innerloop")
    ]
    assert len(ours) == 6
    for command in ours:
        parse(shlex.split(command)[1:])


def test_a_command_that_does_not_exist_would_be_noticed() -> None:
    with pytest.raises(Exception, match="--no-such-option"):
        parse(["worker", "--no-such-option"])
    with pytest.raises(KeyError):
        parse(["no-such-command"])


def test_the_settings_file_is_all_that_commands_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = plan(tmp_path)
    made.config.write_text(made.config_text())
    settings = load_settings(made.config)
    properties = settings.kafka.consumer_properties
    assert CONSUMER_PROPERTIES.items() <= properties.items()
    assert settings.training == TrainingSettings()


def test_collector_and_gateway_have_keys_of_this_run_alone(tmp_path: Path) -> None:
    made, other = plan(tmp_path), plan(tmp_path)
    made.config.write_text(made.config_text())
    settings = load_settings(made.config)
    assert settings.collector.allowed_origins == settings.gateway.allowed_origins == ()
    keys = (*settings.collector.write_keys.values(), *settings.gateway.token_secrets.values())
    assert [key.get_secret_value() for key in keys] == [made.write_key, made.token_secret]
    assert made.write_key not in repr(made) and made.token_secret not in repr(made)
    assert {made.write_key, made.token_secret}.isdisjoint({other.write_key, other.token_secret})
    assert settings.collector.host == settings.gateway.host == "127.0.0.1"
