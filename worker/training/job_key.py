"""What tells a training from another."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import msgspec
import torch

from worker.encoder.folder import DESCRIPTION
from worker.files import sha256_of
from worker.model.bundle import Provenance

JobKey = dict[str, bool | int | float | str | None]
"""What a training depends on, by name."""


def job_key(provenance: Provenance, text_encoder: Path, device: torch.device) -> JobKey:
    """Return what tells a training from another: equal keys end in equal weights.

    Args:
        provenance: data, seed and settings. Names of files do not count, their contents do.
        text_encoder: folder of the text encoder.
        device: where the training is.
    """
    key = _flat(msgspec.to_builtins(provenance))
    for name in ("events_file", "items_file"):
        key.pop(name, None)
    key["text_encoder_sha256"] = sha256_of(text_encoder / DESCRIPTION)
    key["device"] = device.type
    key |= {f"{name} (version)": version(name) for name in ("innerloop", "torch", "numpy")}
    return key


def differences(kept: JobKey, job: JobKey) -> list[str]:
    """Say of each name in which `job` differs from `kept` how it does."""
    return [
        f"{name} is {job.get(name)}, there {kept.get(name)}"
        for name in sorted(kept.keys() | job.keys())
        if kept.get(name) != job.get(name)
    ]


def _flat(nested: dict[str, object], prefix: str = "") -> JobKey:
    flat: JobKey = {}
    for name, value in nested.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        elif value is None or isinstance(value, bool | int | float | str):
            flat[f"{prefix}{name}"] = value
        else:
            flat[f"{prefix}{name}"] = msgspec.json.encode(value).decode()
    return flat
