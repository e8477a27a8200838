"""What the store keeps of a user: the record, and the list last published."""

from __future__ import annotations

_LENGTH_BYTES = 4


def to_entry(published: bytes, record: bytes) -> bytes:
    """Return an entry of the rows of the list last published, empty if unknown, and the record."""
    return len(published).to_bytes(_LENGTH_BYTES, "little") + published + record


def from_entry(entry: bytes) -> tuple[bytes, bytes]:
    """Return what `to_entry` was given."""
    end = _LENGTH_BYTES + int.from_bytes(entry[:_LENGTH_BYTES], "little")
    return entry[_LENGTH_BYTES:end], entry[end:]


def without_list(entry: bytes) -> bytes:
    """Return an entry without the list: its rows mean nothing to another process."""
    return to_entry(b"", from_entry(entry)[1])
