"""What a benchmark ran on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

_PACKAGES = (
    "innerloop",
    "confluent-kafka",
    "msgspec",
    "numba",
    "numpy",
    "onnxruntime-gpu",
    "torch",
)


class Gpu(msgspec.Struct, frozen=True):
    """A CUDA device."""

    name: str
    memory_bytes: int
    multiprocessors: int
    capability: str


class Hardware(msgspec.Struct, frozen=True, kw_only=True):
    """Machine, software and threads."""

    cpu: str
    cores: int
    """That this process may use."""
    memory_bytes: int
    device: str
    """Where arrays live: cpu or cuda."""
    gpu: Gpu | None
    torch_threads: int | None
    """Of this process; None where torch is not used by it."""
    system: str
    python: str
    packages: dict[str, str]


def describe(device: str | None = None) -> Hardware:
    """Describe this machine.

    Args:
        device: "cpu" or "cuda"; None for a benchmark whose own process runs no torch.
    """
    gpu, threads = None, None
    if device is not None:
        import torch  # noqa: PLC0415 - the drivers of a pipeline do without its memory and threads

        threads = torch.get_num_threads()
        if device == "cuda":
            of = torch.cuda.get_device_properties(torch.cuda.current_device())
            gpu = Gpu(of.name, of.total_memory, of.multi_processor_count, f"{of.major}.{of.minor}")
    return Hardware(
        cpu=_cpu_model(),
        cores=_cores(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        device=device or "cpu",
        gpu=gpu,
        torch_threads=threads,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        packages={name: found for name in _PACKAGES if (found := _version(name))},
    )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
