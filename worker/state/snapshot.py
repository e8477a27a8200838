"""What an ended worker left of its users in the state folder: a file of them, and notes on it.

The notes are written last and removed first. Without notes that go with the file, to its last bit,
the file is of no use: nothing has to be synced, and what a crash leaves behind is never read.
"""

from __future__ import annotations

import hmac
import logging
from pathlib import Path

import msgspec

from worker.files import write_whole
from worker.state.sealing import Checksum, Seal, Sealing

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


class Notes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is noted of a file."""

    layout: int
    stamp: Stamp
    digest: str
    """Of the file, and of the stamp where it is sealed: `Sealing.checksum`."""
    seal: Seal | None = None
    """How it is sealed; None if it is not."""


def write_notes(
    folder: Path, file: Path, stamp: Stamp, sealing: Sealing, seal: Seal | None
) -> None:
    """Write what makes a file of users usable.

    Args:
        folder: for the notes.
        file: of the users.
        stamp: what they are level with.
        sealing: of the store.
        seal: of the file, by that.

    Raises:
        OSError: they cannot be written, or the file cannot be read.
    """
    digest = _digest(file, sealing.checksum(seal, _bytes(stamp)))
    write_whole(folder / _NOTES, msgspec.json.encode(Notes(LAYOUT, stamp, digest, seal)))


def take_notes(folder: Path, file: Path, sealing: Sealing) -> Notes | None:
    """Return and remove what is noted of a file; None, with a line in the log, if it is of no use.

    Args:
        folder: with the notes.
        file: of the users.
        sealing: of the store; a file that it cannot vouch for is of no use.

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
        read = msgspec.json.decode(content, type=Notes)
        reason = _flaw(read, file, sealing)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = f"the notes on it cannot be read: {error}"
    except OSError as error:
        reason = f"it cannot be read: {error}"
    if reason:
        _LOG.warning("the snapshot of users in %s is not used: %s", folder, reason)
        return None
    return read


def _flaw(notes: Notes, file: Path, sealing: Sealing) -> str:
    if notes.layout != LAYOUT:
        return f"its layout is {notes.layout}, and this worker's {LAYOUT}"
    if flaw := sealing.flaw(notes.seal):
        return flaw
    digest = _digest(file, sealing.checksum(notes.seal, _bytes(notes.stamp)))
    if not hmac.compare_digest(digest.encode(), notes.digest.encode()):
        return "the file is not the one that was written"
    return ""


def _bytes(stamp: Stamp) -> bytes:
    return msgspec.json.encode(stamp)


def _digest(file: Path, checksum: Checksum) -> str:
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            checksum.update(chunk)
    return checksum.hexdigest()
