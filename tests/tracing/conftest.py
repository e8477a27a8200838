"""What tests of tracing share: other tests' workers, collectors and gateways, and a receiver."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path += [
    str(Path(__file__).parents[1] / name) for name in ("worker", "subscriber", "producer/collector")
]

from otlp_receiver import OtlpReceiver


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    """An OTLP/HTTP receiver."""
    with OtlpReceiver() as made:
        yield made
