"""What tests of whole workers share."""

import subprocess
import sys
from pathlib import Path

import pytest

from schemas.settings import Settings

SCRIPT = Path(__file__).with_name("worker_process.py")


@pytest.fixture
def start(tmp_path):
    """Start workers in processes of their own; whatever is left at the end is killed."""
    started = []

    def run(settings: Settings, *arguments: object) -> subprocess.Popen:
        file = tmp_path / f"settings-{len(started)}.json"
        file.write_text(settings.model_dump_json())
        command = [sys.executable, str(SCRIPT), str(file), *map(str, arguments)]
        log = (tmp_path / f"worker-{len(started)}.log").open("wb")
        process = subprocess.Popen(command, stderr=log, stdout=log, cwd=SCRIPT.parents[2])
        log.close()
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()
