"""Closed-loop load over HTTP: so many connections, each with one request under way.

A client that costs as little as may be, for it shares the machine with what it measures: requests
are written down beforehand, and of an answer only status and length are read.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.errors import BenchError

_READ = 65_536
_TIMEOUT_S = 60.0


@dataclass
class Load:
    """How it went."""

    seconds: float = 0.0
    """From the first request to the last answer."""
    latencies: list[float] = field(default_factory=list)
    """Of each request, from its first byte to its answer's last, seconds."""


def http_request(path: str, body: bytes, headers: Sequence[tuple[str, str]]) -> bytes:
    """Return a POST request as it goes over the wire."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def closed_loop(address: tuple[str, int], requests: Sequence[bytes], connections: int) -> Load:
    """Send requests, each connection its share one after the other, all answered 202.

    Raises:
        BenchError: an answer is another one, or none comes.
    """
    load = Load()
    failures: list[BaseException] = []

    def run(own: Sequence[bytes]) -> None:
        try:
            latencies = _send_all(address, own)
        except (OSError, BenchError) as error:
            failures.append(error)
        else:
            load.latencies.extend(latencies)

    threads = [
        threading.Thread(target=run, args=(requests[n::connections],), daemon=True)
        for n in range(connections)
    ]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    load.seconds = time.perf_counter() - begin
    if failures:
        raise BenchError(f"a request was not answered: {failures[0]}") from failures[0]
    return load


def _send_all(address: tuple[str, int], requests: Sequence[bytes]) -> list[float]:
    latencies = []
    with socket.create_connection(address, timeout=_TIMEOUT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for request in requests:
            begin = time.perf_counter()
            connection.sendall(request)
            _read_accepted(connection)
            latencies.append(time.perf_counter() - begin)
    return latencies


def _read_accepted(connection: socket.socket) -> None:
    answer = b""
    while (end := answer.find(b"\r\n\r\n")) < 0:
        answer += _more(connection)
    head = answer[:end].lower()
    length = next(
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.startswith(b"content-length:")
    )
    while len(answer) < end + 4 + length:
        answer += _more(connection)
    status = head.split(b"\r\n", 1)[0]
    if b" 202 " not in status:
        text = answer[end + 4 :].decode(errors="replace")
        raise BenchError(f"{status.decode(errors='replace')}: {text[:300]}")


def _more(connection: socket.socket) -> bytes:
    received = connection.recv(_READ)
    if not received:
        raise BenchError("the connection was closed")
    return received
