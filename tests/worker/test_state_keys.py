"""The file of keys: what it may hold, who may read it, and what is said of any other."""

import base64
import os
from types import SimpleNamespace

import pytest

from schemas.errors import SettingsError
from schemas.settings import Settings
from worker.service import WorkerService
from worker.state.sealed import Sealed
from worker.state.sealing import PLAIN
from worker.state.state_keys import _check_access, read_state_keys, sealing_of

KEYS = [bytes([number]) * 32 for number in (1, 2)]
LINES = [base64.b64encode(key) for key in KEYS]


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "state.key"
    file.touch(mode=0o600)
    return file


@pytest.mark.parametrize(
    ("content", "keys"),
    [
        (LINES[0], KEYS[:1]),
        (LINES[0] + b"\n", KEYS[:1]),
        (b"# the new one\r\n" + LINES[1] + b"\r\n\n# the old one\n" + LINES[0], KEYS[::-1]),
    ],
)
def test_keys_are_lines_of_base64(path, content, keys):
    path.write_bytes(content)
    assert read_state_keys(path) == keys
    sealing = sealing_of(path)
    assert isinstance(sealing, Sealed)
    assert sealing.key == Sealed(keys).key


def test_without_a_file_nothing_is_sealed():
    assert sealing_of(None) is PLAIN


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "holds no key; right is a line of base64"),
        (b"# no key\n", "holds no key"),
        (LINES[0][:-4], "has a key of 30 bytes in line 1"),
        (LINES[0] + b"\n" + base64.b64encode(bytes(16)), "has a key of 16 bytes in line 2"),
        (KEYS[0], "is not base64 in line 1"),
        (b"not a key, a text that somebody typed", "is not base64 in line 1"),
        (b"\xff\xfe" * 40, "is not base64 in line 1"),
        (LINES[0] * 2000, "is larger than 65536 bytes"),
    ],
)
def test_what_are_no_keys_is_named_and_not_shown(path, content, says):
    path.write_bytes(content)
    with pytest.raises(SettingsError) as raised:
        read_state_keys(path)
    message = str(raised.value)
    assert message.startswith(f"worker.state_key_file = {path}: the file {says}")
    assert "openssl rand -base64 32" in message
    assert "somebody typed" not in message
    assert LINES[0].decode()[:8] not in message


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"state_key_file = .*none: the file cannot be read"):
        read_state_keys(tmp_path / "none")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_state_keys(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o602, 0o444, 0o660])
def test_a_file_that_others_may_read_is_refused(path, mode):
    path.write_bytes(LINES[0])
    path.chmod(mode)
    with pytest.raises(SettingsError, match=f"has mode {mode:04o}, .* chmod 600"):
        read_state_keys(path)


OWN, ROOT, OTHER = 4711, 0, 815


@pytest.mark.parametrize(
    ("owner", "mode", "says"),
    [
        (OWN, 0o400, None),
        (OWN, 0o440, "chmod 600"),
        (ROOT, 0o440, None),
        (ROOT, 0o640, None),
        (ROOT, 0o660, "root and the worker's group"),
        (ROOT, 0o444, "root and the worker's group"),
        (OTHER, 0o400, "belongs to another user"),
    ],
)
def test_roots_file_may_be_read_by_the_group(path, monkeypatch, owner, mode, says):
    """As Kubernetes mounts a Secret for a pod with an fsGroup."""
    monkeypatch.setattr(os, "geteuid", lambda: OWN)
    status = SimpleNamespace(st_uid=owner, st_mode=0o100000 | mode)
    if says is None:
        _check_access(path, status)
    else:
        with pytest.raises(SettingsError, match=says):
            _check_access(path, status)


def test_a_worker_with_a_wrong_file_does_not_start(path):
    settings = Settings.model_validate({"worker": {"state_key_file": path}})
    with pytest.raises(SettingsError, match="holds no key"):
        WorkerService(settings, None)
