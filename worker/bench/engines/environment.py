"""A Python environment for an engine that cannot, or need not, live beside innerloop.

Quix Streams wants an older confluent-kafka than innerloop. So the engine gets a virtual environment
of its own, which comes first on the path, and behind it the packages that are installed here: torch
and the like are not installed twice.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import worker
from schemas.errors import BenchError

_INSTALL_WITHIN_S = 600.0
_TAIL = 600


@dataclass(frozen=True)
class Environment:
    """Where an engine runs."""

    python: Path
    variables: dict[str, str]


def environment(packages: Sequence[str], modules: Sequence[str], folder: Path) -> Environment:
    """Return an environment that has some packages: this one, else one made in `folder`.

    Args:
        packages: names to be installed, such as "quixstreams".
        modules: names to be imported.
        folder: to be made, if a module is not here. One that is there already is used again.

    Raises:
        BenchError: the packages cannot be installed; the message says what was tried.
    """
    root = Path(worker.__path__[0]).parent
    variables = {**os.environ, "PYTHONPATH": str(root), "OMP_WAIT_POLICY": "PASSIVE"}
    if all(importlib.util.find_spec(module) for module in modules):
        return Environment(Path(sys.executable), variables)
    python = folder / "bin" / "python"
    if not python.is_file():
        _make(folder, packages)
    return Environment(python, variables)


def _make(folder: Path, packages: Sequence[str]) -> None:
    uv = _find_uv()
    python = folder / "bin" / "python"
    if uv is None:
        _run([sys.executable, "-m", "venv", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", *packages])
    else:
        _run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)])
        _run([uv, "pip", "install", "--quiet", "--python", str(python), *packages])
    own = next((folder / "lib").glob("python*/site-packages"))
    here = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    # Lines of a .pth file come behind the environment's own packages.
    (own / "innerloop-bench.pth").write_text("\n".join(sorted(here)) + "\n", encoding="utf-8")


def _find_uv() -> str | None:
    beside = Path(sys.executable).with_name("uv")
    return str(beside) if beside.is_file() else shutil.which("uv")


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_INSTALL_WITHIN_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"{' '.join(command)} fails: {error}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-_TAIL:]
        raise BenchError(f"{' '.join(command)} fails:\n{said}")
