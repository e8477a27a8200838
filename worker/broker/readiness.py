"""Ports of this machine, and whether a broker answers yet."""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from collections.abc import Callable, Iterator

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

HOST = "127.0.0.1"

_POLL_S = 0.05


def free_port() -> int:
    """Return a port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """Give a port of loopback that nobody else is given while the block runs.

    A process that is started in the block can listen on it, if it sets SO_REUSEADDR as servers do:
    on Linux that is no conflict with a socket that does not listen. Elsewhere it is, and the port
    is only one that is free now.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((HOST, 0))
        port: int = holder.getsockname()[1]
        if sys.platform != "linux":
            holder.close()
        yield port


def is_free(port: int) -> bool:
    """Whether a broker could listen on this port of loopback now."""
    with socket.socket() as probe:
        # As the broker does: a port that only waits out old connections is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def accepts_connections(port: int) -> bool:
    """Whether something listens on this port of loopback."""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1.0):
        return True
    return False


def wait_for_port(port: int, check: Callable[[], None]) -> None:
    """Wait until something listens on a port of loopback; `check` raises to give up."""
    while not accepts_connections(port):
        check()
        time.sleep(_POLL_S)


def wait_for_answer(bootstrap_servers: str, check: Callable[[], None]) -> None:
    """Wait until a broker answers a request for metadata; `check` raises to give up.

    For a broker that is only starting wait for its port first: a client that finds the port closed
    waits longer and longer before it tries again.
    """
    client = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    while True:
        try:
            if client.list_topics(timeout=1.0).brokers:
                return
        except KafkaException:
            check()
