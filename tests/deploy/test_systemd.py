"""The unit for machines with systemd."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from deployment_files import DEPLOY, assert_command_exists, settings_of, tool

UNIT = DEPLOY / "systemd" / "innerloop@.service"


def test_systemd_understands_it(tmp_path):
    analyze = tool("systemd-analyze", "it is part of systemd")
    program = shutil.which("true")
    assert program is not None
    # The program is looked for, so one that is there stands for it.
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/innerloop/bin/innerloop", program))
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(unit)],
        capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert UNIT.name not in done.stderr, done.stderr


def test_names_settings_and_commands_that_exist(monkeypatch, tmp_path):
    text = UNIT.read_text()
    config = tmp_path / "innerloop.toml"
    config.write_text("")
    variables = dict(re.findall(r"^Environment=(INNERLOOP_\w+)=(\S+)$", text, re.M))
    assert len(variables) >= 4
    settings = settings_of(variables, monkeypatch, config)
    assert settings.worker.instance_id == "%H-%i"
    (enabled,) = re.findall(r"systemctl enable --now (.+)$", text, re.M)
    for instance in enabled.split():
        assert_command_exists([instance.removeprefix("innerloop@")])
    (other,) = re.findall(r'COMMAND="(.+?)"', text)
    assert_command_exists(other.split())


def test_stops_no_sooner_than_a_worker_may_take():
    text = UNIT.read_text()
    assert "KillSignal=SIGTERM" in text
    assert int(re.findall(r"^TimeoutStopSec=(\d+)$", text, re.M)[0]) >= 120
    for hardening in ("NoNewPrivileges=yes", "ProtectSystem=strict", "DynamicUser=yes"):
        assert hardening in text
