"""The demo's services besides the worker: broker, collector, gateway, storefront."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from schemas.errors import DemoError
from worker.broker.readiness import HOST, reserved_port
from worker.demo.children import Child
from worker.demo.plan import DemoPlan

Start = Callable[[str, list[str]], Child]
"""Shows and starts a command, by a name of its own."""

_BROKER = re.compile(r"BOOTSTRAP_SERVERS=(\S+)")
_COLLECTOR = re.compile(r"Collector ready at (\S+)\n")
_GATEWAY = re.compile(r"Gateway at (\S+)\n")
_STOREFRONT = re.compile(r"Storefront at (\S+)\n")

_UP_WITHIN_S = 300.0
_WAIT_STEP_S = 0.05


@dataclass(frozen=True)
class Page:
    """The storefront's page, and who it talks to."""

    address: str
    services: tuple[Child, ...]


def start_page(plan: DemoPlan, brokers: str, start: Start) -> Page:
    """Start collector, gateway and storefront, and wait until they take connections.

    Raises:
        DemoError: one ends, or does not come up in time.
    """
    # The page's port is to be known before it is there: collector and gateway allow its origin.
    with reserved_port() as port:
        page = f"http://{HOST}:{port}"
        collector = start("collector", plan.collector_command(brokers, page))
        gateway = start("gateway", plan.gateway_command(brokers, page))
        origins = address_of(collector, _COLLECTOR), address_of(gateway, _GATEWAY)
        storefront = start("storefront", plan.storefront_command(brokers, port, *origins))
        return Page(address_of(storefront, _STOREFRONT), (collector, gateway, storefront))


def broker_address(broker: Child) -> str:
    """Wait for the broker's address; see `address_of`."""
    return address_of(broker, _BROKER)


def address_of(child: Child, told: re.Pattern[str]) -> str:
    """Wait until a process says where it is.

    Args:
        child: whose log is read.
        told: what it says, with the address as its group.

    Raises:
        DemoError: it ends instead, or does not say so in time.
    """
    deadline = time.monotonic() + _UP_WITHIN_S
    while time.monotonic() < deadline:
        child.check()
        if found := told.search(child.output()):
            return found[1]
        time.sleep(_WAIT_STEP_S)
    raise DemoError(f"the {child.name} is not up after {_UP_WITHIN_S:g} s{child.tail()}")
