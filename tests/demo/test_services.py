"""Waiting for a service to say where it is, and keeping the page up."""

from __future__ import annotations

import io
import re
import socket
import sys
from pathlib import Path

import pytest
from demo_parts import plan
from prometheus_client import CollectorRegistry, start_http_server
from rich.console import Console

from schemas.errors import DemoError
from worker.broker.readiness import HOST, reserved_port
from worker.demo import run as run_module
from worker.demo import services
from worker.demo.run import Demo, Stream
from worker.demo.services import Page, address_of

TOLD = re.compile(r"Gateway at (\S+)\n")


class Service:
    """Stands for a child process that says more at every look."""

    name = "gateway"

    def __init__(self, *says: str, ends_after: int = 99) -> None:
        self._says = says
        self._looks = 0
        self._ends_after = ends_after

    def check(self) -> None:
        self._looks += 1
        if self._looks > self._ends_after:
            raise DemoError("gateway ended")

    def output(self) -> str:
        return "".join(self._says[: self._looks])

    def tail(self) -> str:
        return "\nthe end of the log"


def test_an_address_is_taken_once_its_line_is_whole() -> None:
    service = Service("Metrics…\n", "Gateway at http://127.0.0.1:4", "5123\nmore")
    assert address_of(service, TOLD) == "http://127.0.0.1:45123"


@pytest.mark.skipif(sys.platform != "linux", reason="ports are reserved on Linux alone")
def test_a_reserved_port_is_nobody_elses_and_can_be_listened_on() -> None:
    with reserved_port() as port:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((HOST, port))
        with socket.socket() as caller, pytest.raises(ConnectionRefusedError):
            caller.connect((HOST, port))
        server, thread = start_http_server(port, HOST, CollectorRegistry())
        try:
            socket.create_connection((HOST, port)).close()
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
        with socket.create_server((HOST, port)):
            socket.create_connection((HOST, port)).close()


def test_a_service_that_ends_or_says_nothing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DemoError, match="gateway ended"):
        address_of(Service("nothing", ends_after=2), TOLD)
    monkeypatch.setattr(services, "_UP_WITHIN_S", 0.01)
    with pytest.raises(DemoError, match=r"gateway is not up after 0.01 s\nthe end of the log"):
        address_of(Service("nothing"), TOLD)


def kept_up(tmp_path: Path, service: Service) -> str:
    shown = io.StringIO()
    demo = Demo(plan(tmp_path), Console(file=shown), lambda: 0, stay=True)
    stream = Stream(service, service, "h:1", 2, Page("http://h:3", (service,)))
    demo._keep_up(stream)
    return shown.getvalue()


def test_the_page_is_kept_up_until_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(run_module.time, "sleep", sleep)
    assert "until Ctrl-C: http://h:3" in kept_up(tmp_path, Service())
    assert len(looks) == 3


def test_a_service_that_ends_closes_the_page(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match="gateway ended"):
        kept_up(tmp_path, Service(ends_after=4))
