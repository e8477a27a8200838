"""The jars of a real Apache Kafka broker, resolved by Maven once and kept in the user's cache."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from schemas.errors import BrokerError

KAFKA_VERSION = "4.2.2"
"""The version that tests run against; kafka-pom.xml has the same. Needs Java 17 or newer.

Not a later one: 4.3.0 to 4.4.0 take a partition without a leader for a deleted one, and a node that
crashed drops the markers of its unfinished transactions when it comes back (KAFKA-20734). What they
held hangs, or is lost although committed."""

POM = Path(__file__).with_name("kafka-pom.xml")

_RESOLVE_TIMEOUT_S = 600


def cache_folder() -> Path:
    """Return innerloop's folder in the user's cache: `$XDG_CACHE_HOME/innerloop`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "innerloop"


def find_program(name: str, package: str) -> str:
    """Return the path of a program.

    Args:
        name: what it is called on PATH; `java` is looked for in `$JAVA_HOME` first.
        package: what a person would install to get it.

    Raises:
        BrokerError: it is not there.
    """
    home = os.environ.get("JAVA_HOME")
    if name == "java" and home and (Path(home) / "bin" / name).is_file():
        return str(Path(home) / "bin" / name)
    found = shutil.which(name)
    if found is None:
        raise BrokerError(
            f"a real Kafka broker needs {package} and there is no `{name}` on PATH; install it, "
            "or set KAFKA_BOOTSTRAP to the address of a running broker"
        )
    return found


def resolve_jars(version: str = KAFKA_VERSION) -> Path:
    """Return the folder of the broker's jars, filled by Maven the first time it is asked for.

    Args:
        version: of Apache Kafka, 4.0 or newer.

    Raises:
        BrokerError: the version is none, Maven is missing, or it cannot resolve the jars.
    """
    if not re.fullmatch(r"[4-9]\.\d+\.\d+", version):
        raise BrokerError(f"Kafka version {version!r} is not of the form 4.x.y ({KAFKA_VERSION})")
    folder = cache_folder() / f"kafka-{version}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="resolving-") as temporary:
        target = Path(temporary) / "jars"
        _copy_dependencies(version, target)
        try:
            target.rename(folder)  # whole or not at all, also when two processes do this at once
        except OSError:
            if not folder.is_dir():
                raise
    return folder


def _copy_dependencies(version: str, target: Path) -> None:
    command = [
        find_program("mvn", "Maven"),
        "--quiet",
        "--batch-mode",
        "-Dstyle.color=never",
        f"--file={POM}",
        "dependency:copy-dependencies",
        f"-Dkafka.version={version}",
        f"-DoutputDirectory={target}",
        "-DincludeScope=runtime",
    ]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_RESOLVE_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise BrokerError(
            f"Maven did not resolve Kafka {version} within {_RESOLVE_TIMEOUT_S} s"
        ) from None
    if done.returncode != 0 or not target.is_dir():
        said = _maven_reason(done.stdout + done.stderr)
        raise BrokerError(f"Maven cannot resolve the jars of Kafka {version}:\n{said}")


def _maven_reason(output: str) -> str:
    # The first paragraph is the reason; what follows explains Maven's own flags.
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output).strip()
    return re.split(r"\n\[ERROR\] *\n", plain, maxsplit=1)[0][-2000:]
