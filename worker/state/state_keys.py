"""The file with the keys that users on disk are sealed with."""

from __future__ import annotations

import base64
import binascii
import logging
import os
import stat
from pathlib import Path

from schemas.errors import SettingsError
from worker.state.sealed import KEY_BYTES, Sealed
from worker.state.sealing import PLAIN, Sealing

_LOG = logging.getLogger(__name__)

_MOST_BYTES = 64 * 1024
_ROOT = 0
_RIGHT = (
    f"right is a line of base64 for each key of {KEY_BYTES} bytes, the one to write with first; "
    "`openssl rand -base64 32` makes one"
)


def sealing_of(key_file: Path | None) -> Sealing:
    """Return how users are written to disk.

    Args:
        key_file: the setting worker.state_key_file; None leaves them as they are.

    Raises:
        SettingsError: the file cannot be read, may be read by others, or holds no keys.
    """
    if key_file is None:
        return PLAIN
    sealing = Sealed(read_state_keys(key_file))
    _LOG.info("what is written to worker.state_folder is sealed with key %s", sealing.key)
    return sealing


def read_state_keys(path: Path) -> list[bytes]:
    """Return the keys in a file, `KEY_BYTES` bytes each, at least one.

    Raises:
        SettingsError: the file cannot be read, may be read by others, or holds no keys.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise _wrong(path, f"cannot be read ({error.strerror}); {_RIGHT}") from error
    _check_access(path, status)
    if len(content) > _MOST_BYTES:
        raise _wrong(path, f"is larger than {_MOST_BYTES} bytes; {_RIGHT}")
    keys = [
        _key(path, number, line.strip())
        for number, line in enumerate(content.split(b"\n"), 1)
        if line.strip() and not line.startswith(b"#")
    ]
    if not keys:
        raise _wrong(path, f"holds no key; {_RIGHT}")
    return keys


def _check_access(path: Path, status: os.stat_result) -> None:
    """Refuse a file that others can read or replace.

    Root's may be read by its group: Kubernetes and systemd hand secrets to services in that way.
    """
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid == os.geteuid():
        allowed, right = 0o600, "it should be readable by its owner alone: chmod 600"
    elif status.st_uid == _ROOT:
        allowed, right = 0o640, "it should be readable by root and the worker's group: chmod 440"
    else:
        raise _wrong(path, "belongs to another user; it should be the worker's own, or root's")
    if mode & 0o077 & ~allowed:
        raise _wrong(path, f"has mode {mode:04o}, so that others can read or replace it; {right}")


def _key(path: Path, number: int, line: bytes) -> bytes:
    try:
        key = base64.b64decode(line, validate=True)
    except binascii.Error:
        raise _wrong(path, f"is not base64 in line {number}; {_RIGHT}") from None
    if len(key) != KEY_BYTES:
        raise _wrong(path, f"has a key of {len(key)} bytes in line {number}; {_RIGHT}")
    return key


def _wrong(path: Path, what: str) -> SettingsError:
    return SettingsError(f"worker.state_key_file = {path}: the file {what}")
