"""What an ended worker left of its users in the state folder: a file of them, and notes on it.

The notes are written last and removed first. Without notes that go with the file, to its last bit,
the file is of no use: nothing has to be synced, and what a crash leaves behind is never read.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
import xxhash

from worker.files import write_whole

_LOG = logging.getLogger(__name__)

LAYOUT = 1
"""Of the notes, and of what is kept of a user (`worker.state.entry`)."""

_NOTES = "snapshot.json"
_CHUNK_BYTES = 1 << 22


class Stamp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the users of some partitions are level with."""

    topics: dict[str, str]
    """Full name → id of the topics that the states were made of and written to."""
    saved_ms: int
    """When, milliseconds since the epoch."""
    next_offsets: dict[int, int]
    """Partition → offset of `user-state`: what comes before it is in the users' states."""


class _Notes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    layout: int
    stamp: Stamp
    digest: str
    """XXH3 of the file, 128 bits: against damage, not against malice."""


def write_notes(folder: Path, file: Path, stamp: Stamp) -> None:
    """Write what makes a file of users usable.

    Raises:
        OSError: they cannot be written, or the file cannot be read.
    """
    write_whole(folder / _NOTES, msgspec.json.encode(_Notes(LAYOUT, stamp, _digest(file))))


def take_notes(folder: Path, file: Path) -> Stamp | None:
    """Return and remove what is noted of a file; None, with a line in the log, if it is of no use.

    Raises:
        OSError: the notes cannot be removed.
    """
    notes = folder / _NOTES
    try:
        content = notes.read_bytes()
    except FileNotFoundError:
        return None
    notes.unlink()  # whatever happens to the file from here on, nobody trusts it any more
    reason = ""
    try:
        read = msgspec.json.decode(content, type=_Notes)
        if read.layout != LAYOUT:
            reason = f"its layout is {read.layout}, and this worker's {LAYOUT}"
        elif read.digest != _digest(file):
            reason = "the file is not the one that was written"
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = f"the notes on it cannot be read: {error}"
    except OSError as error:
        reason = f"it cannot be read: {error}"
    if reason:
        _LOG.warning("the snapshot of users in %s is not used: %s", folder, reason)
        return None
    return read.stamp


def _digest(file: Path) -> str:
    digest = xxhash.xxh3_128()
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
