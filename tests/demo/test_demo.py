"""The demo itself, small, as a person runs it: to its end, interrupted, and with a dying worker."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PATIENCE_S = 400.0
MARK = "DEMO_TEST_RUN"
SMALL = ["--data-events", "12000", "--epochs", "1", "--events", "2000"]


def listen_to_interrupts() -> None:
    """Undo what a shell without job control does to what it runs in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Run:
    """A demo under way, and how to find its processes: all inherit a mark in the environment."""

    def __init__(self, folder: Path, rate: int, *more: str, name: str = "demo") -> None:
        self.mark = uuid.uuid4().hex
        self.output = folder / "output.txt"
        options = ["--folder", str(folder), "--rate", str(rate), *SMALL, *more]
        command = [sys.executable, "-m", "worker.cli", name, *options]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, MARK: self.mark},
                preexec_fn=listen_to_interrupts,  # noqa: PLW1509  # nothing else runs here yet
            )

    @property
    def text(self) -> str:
        return self.output.read_text()

    def alive(self) -> dict[int, list[str]]:
        """Return process id → command line of the demo and all that it has started."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                marked = f"{MARK}={self.mark}".encode() in (folder / "environ").read_bytes()
                arguments = (folder / "cmdline").read_bytes().decode().split("\0")
            except (PermissionError, FileNotFoundError, ProcessLookupError):
                continue
            if marked:
                found[int(folder.name)] = arguments
        return found

    def pid_of(self, command: str) -> int:
        (pid,) = (pid for pid, arguments in self.alive().items() if arguments[4:5] == [command])
        return pid

    def wait_for(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process.poll() is None, f"it ended:\n{self.text}"
            assert time.monotonic() < deadline, f"not in time:\n{self.text}"
            time.sleep(0.1)

    def end(self) -> int:
        return self.process.wait(PATIENCE_S)


@contextmanager
def demo(folder: Path, rate: int, *more: str, name: str = "demo") -> Iterator[Run]:
    run = Run(folder, rate, *more, name=name)
    try:
        yield run
    finally:
        for pid in run.alive():
            os.kill(pid, signal.SIGKILL)
        run.process.wait()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not Path("/proc/self/environ").exists():
        pytest.skip("finds processes through /proc, which this system lacks")
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def first_run(folder: Path) -> Run:
    with demo(folder, rate=400) as run:
        status = run.end()
        assert status == 0, run.text
        assert not run.alive()
    return run


def test_it_trains_replays_answers_everything_and_ends(first_run: Run, folder: Path) -> None:
    text = " ".join(first_run.text.split())
    assert "simulated data" in text
    assert "epoch 1" in text
    assert re.search(r"events replayed 2,000, of \d+ visitors", text)
    assert "answered 2,000, each" in text
    (mean_rate,) = re.findall(r"speed ([\d.]+) events/s", text)
    assert float(mean_rate) > 0
    (events,) = re.findall(r"│ events ([\d, ]+) │", text)
    *buckets, total = (int(number.replace(",", "")) for number in events.split())
    assert sum(buckets) == total == 2000
    assert re.search(r"│ innerloop (0\.\d{3} ){8}", text)
    assert re.search(r"│ popularity (0\.\d{3} ){8}", text)
    assert "innerloop evaluate --bundle" in text
    assert "A shop to click in: http://127.0.0.1:" in text
    assert "stays open" not in text  # there is no terminal
    assert (folder / "demo.toml").stat().st_mode & 0o077 == 0  # it holds keys
    assert "stopped; everything read is answered" in (folder / "logs" / "worker.log").read_text()


def replaying(run: Run) -> bool:
    return any(arguments[4:5] == ["replay"] for arguments in run.alive().values())


def test_an_interruption_stops_everything(first_run: Run, folder: Path) -> None:
    with demo(folder, rate=20) as run:
        run.wait_for(lambda: "Visitors that training" in run.text and replaying(run))
        assert len(run.alive()) == 7
        run.process.send_signal(signal.SIGINT)
        assert run.end() == 130, run.text
        assert not run.alive()
    assert "--fresh trains again" in run.text
    assert "interrupted; everything is stopped" in run.text
    assert "Traceback" not in run.text


def test_the_page_stays_and_a_worker_that_dies_ends_it_with_the_reason(
    first_run: Run, folder: Path
) -> None:
    with demo(folder, 20, "--events", "0", "--stay") as run:
        run.wait_for(lambda: "The shop stays open until Ctrl-C" in run.text)
        (address,) = re.findall(r"A shop to click in: (\S+)", run.text)
        assert httpx.get(address, timeout=PATIENCE_S).is_success
        assert len(run.alive()) == 6
        os.kill(run.pid_of("worker"), signal.SIGKILL)
        assert run.end() == 2, run.text
        assert not run.alive()
    assert "Visitors that training" not in run.text
    assert "error: worker was killed by signal 9" in run.text
    assert str(folder / "logs" / "worker.log") in run.text
    assert "Traceback" not in run.text


def require_prometheus() -> None:
    if shutil.which("prometheus") is None:
        reason = "prometheus is not installed (Debian package prometheus)"
        if os.environ.get("CI"):
            pytest.fail(f"{reason} (CI is set, so this is a failure)")
        pytest.skip(reason)


def test_observe_has_prometheus_watch_it_until_it_is_interrupted(
    first_run: Run, folder: Path
) -> None:
    require_prometheus()
    answered = "sum(innerloop_event_to_recommendation_seconds_count)"
    with demo(folder, 200, "--events", "300", "--port", "0", name="observe") as run:
        run.wait_for(lambda: "The shop stays open until Ctrl-C" in run.text)
        (prometheus,) = re.findall(r"targets: (\S+)/targets", run.text)
        with httpx.Client(
            base_url=f"{prometheus}/api/v1", timeout=PATIENCE_S, trust_env=False
        ) as client:

            def up() -> list[str]:
                targets = client.get("/targets").json()["data"]["activeTargets"]
                return [t["labels"]["job"] for t in targets if t["health"] == "up"]

            def count() -> float:
                answer = client.get("/query", params={"query": answered}).json()["data"]["result"]
                return float(answer[0]["value"][1]) if answer else 0.0

            jobs = ["innerloop-collector", "innerloop-gateway", "innerloop-worker"]
            run.wait_for(lambda: sorted(up()) == jobs and count() == 300)
            groups = client.get("/rules").json()["data"]["groups"]
            assert "InnerloopWorkerStuck" in {r["name"] for g in groups for r in g["rules"]}
        run.process.send_signal(signal.SIGINT)
        assert run.end() == 0, run.text
        assert not run.alive()
    assert "Traceback" not in run.text
