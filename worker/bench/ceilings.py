"""What a device can do at most, measured: what achieved FLOP/s and bandwidth are held against."""

from __future__ import annotations

import torch

from worker.bench.stopwatch import Stopwatch


def matmul_flops(device: torch.device, size: int) -> float:
    """Return the FLOP/s of a float32 product of two square matrices of this size."""
    a, b = (torch.randn(size, size, device=device) for _ in range(2))
    out = torch.empty_like(a)
    return 2.0 * size**3 / Stopwatch(device).seconds(lambda: torch.matmul(a, b, out=out))


def copy_bandwidth(device: torch.device, megabytes: int) -> float:
    """Return the bytes read and written per second by copying an array of this size."""
    source = torch.zeros(megabytes << 20, dtype=torch.uint8, device=device)
    target = torch.ones_like(source)
    return 2.0 * len(source) / Stopwatch(device).seconds(lambda: target.copy_(source))


def ceilings(device: torch.device, *, quick: bool) -> dict[str, float]:
    """Return both, in units of 10⁹ per second, as figures of a report."""
    large = device.type == "cuda" and not quick
    return {
        "gflops_per_s": matmul_flops(device, 8192 if large else 256 if quick else 1536) / 1e9,
        "gbytes_per_s": copy_bandwidth(device, 4096 if large else 16 if quick else 512) / 1e9,
    }
