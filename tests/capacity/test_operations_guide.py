"""The sizes that docs/operations.md shows are what the command computes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from worker.cli.app import app
from worker.cli.plan_tables import size

GUIDE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
ROWS = re.findall(r"^\| `(--events.+?)` \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", GUIDE, re.M)
COMMANDS = re.findall(r"^innerloop plan (.+?)(?: +#.*)?$", GUIDE, re.M)


def planned(flags: str) -> dict[str, float]:
    result = CliRunner().invoke(app, ["plan", *shlex.split(flags), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.output)["plan"]


@pytest.mark.parametrize(("flags", "workers", "partitions", "memory", "disk"), ROWS)
def test_table_shows_what_the_command_says(flags, workers, partitions, memory, disk):
    plan = planned(flags)
    assert (f"{plan['total_workers']:,}", f"{plan['partitions']:,}") == (workers, partitions)
    assert (size(plan["worker_memory_bytes"]), size(plan["total_broker_disk_bytes"])) == (
        memory,
        disk,
    )


def test_commands_run():
    assert len(ROWS) >= 5
    assert len(COMMANDS) >= 2
    for flags in COMMANDS:
        planned(flags)


@pytest.mark.parametrize(("items", "workers"), [(48_000, (22, 506)), (2_000_000, (173, 3_979))])
def test_paper_estimate_is_what_the_command_says(items, workers):
    paper = "--events-per-second 1000000 --mean-events-per-second 300000 --users 1000000000"
    plan = planned(f"{paper} --items {items} --cells 23")
    assert (plan["workers"], plan["total_workers"]) == workers
    assert f"{workers[0]}" in GUIDE and f"{workers[1]:,}" in GUIDE
    assert size(plan["total_broker_disk_bytes"]) == "1.3 PB"
    assert size(plan["broker_in_bytes_per_second"]) == "169.7 MB"
    assert size(plan["changelog_bytes"]) == "61.3 GB"
