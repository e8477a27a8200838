"""A Prometheus server of our own, on loopback: started, waited for, stopped."""

from __future__ import annotations

import contextlib
import http
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from schemas.errors import InnerloopError
from worker.broker.readiness import HOST

_READY_WITHIN_S = 120.0
_STOP_WITHIN_S = 20.0
_POLL_S = 0.1
_TAIL_LINES = 10
# Straight there: a proxy of the environment's knows nothing of this machine's loopback.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class PrometheusError(InnerloopError):
    """Prometheus is not installed, or does not start."""


def prometheus_binary() -> str:
    """Return the path of the command `prometheus`.

    Raises:
        PrometheusError: there is none.
    """
    found = shutil.which("prometheus")
    if found is None:
        raise PrometheusError(
            "the command prometheus is not on the path; install it: apt-get install prometheus "
            "(Debian, Ubuntu), brew install prometheus (macOS), or "
            "https://prometheus.io/download/"
        )
    return found


class PrometheusServer:
    """A server that runs while the `with` block does.

    Args:
        folder: for its configuration, log and data; made if it is not there.
        config: content of prometheus.yml.
        port: to listen on.

    Raises:
        PrometheusError: it is not installed.
    """

    def __init__(self, folder: Path, config: str, port: int) -> None:
        self.url = f"http://{HOST}:{port}"
        self._binary = prometheus_binary()
        self._folder = folder
        self._config = config
        self._address = f"{HOST}:{port}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """What it says."""
        return self._folder / "prometheus.log"

    def __enter__(self) -> Self:
        """Start it and wait until it answers.

        Raises:
            PrometheusError: it does not come up.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / "prometheus.yml"
        file.write_text(self._config, encoding="utf-8")
        command = [
            self._binary,
            f"--config.file={file}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address={self._address}",
        ]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._await_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def check(self) -> None:
        """Make sure that it runs.

        Raises:
            PrometheusError: it has ended; the message holds the end of its log.
        """
        if self._process is not None and (status := self._process.poll()) is not None:
            tail = self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
            lines = "\n".join(f"  {line}" for line in tail)
            raise PrometheusError(
                f"prometheus ended with status {status}; the end of {self.log}:\n{lines}"
            )

    def stop(self) -> None:
        """Stop it."""
        if self._process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_WITHIN_S)
                return

    def _await_ready(self) -> None:
        deadline = time.monotonic() + _READY_WITHIN_S
        while time.monotonic() < deadline:
            self.check()
            with (
                contextlib.suppress(urllib.error.URLError, TimeoutError, ConnectionError),
                _OPENER.open(f"{self.url}/-/ready", timeout=5) as response,
            ):
                if response.status == http.HTTPStatus.OK:
                    return
            time.sleep(_POLL_S)
        raise PrometheusError(
            f"prometheus is not ready after {_READY_WITHIN_S:g} s; see {self.log}"
        )
