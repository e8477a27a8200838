"""Signatures of model bundles: ed25519 (RFC 8032) over the manifest, which has every file's sha256.

They lie beside the manifest in `manifest.sig`, one for each key that signed, so that keys can be
changed while old bundles stay servable.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from schemas.errors import BundleError
from worker.files import write_whole
from worker.model.bundle import MANIFEST, SIGNATURES

_PREFIX = "ed25519:"
# What is signed begins with this, so that a signature can never be one of something else.
_CONTEXT = b"innerloop bundle manifest 1\n"
_MOST_BYTES = 64 * 1024


class Signature(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One signature of a manifest."""

    key: str
    """The public key, as in the setting worker.trusted_keys."""
    signature: str
    """Base64."""


def generate_key(path: Path) -> str:
    """Write a new private key, readable by its owner only; return the public key.

    Raises:
        BundleError: the file is there already, or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    content = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise BundleError(f"the key {path} cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    return public_text(key.public_key())


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key in PEM.

    Raises:
        BundleError: it cannot be read, or is none.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise BundleError(
            f"{path} is no private key that can be used ({error}); `innerloop models keygen` "
            "makes one"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BundleError(f"{path} is not an ed25519 key; `innerloop models keygen` makes one")
    return key


def public_text(key: Ed25519PublicKey) -> str:
    """Return a public key as the setting worker.trusted_keys has it."""
    return _PREFIX + base64.b64encode(key.public_bytes_raw()).decode()


def sign(folder: Path, key: Ed25519PrivateKey) -> str:
    """Sign a bundle, whose files must have been verified; return the public key.

    An earlier signature by the same key is replaced, those by others stay.

    Raises:
        BundleError: the folder is no bundle, or its signatures cannot be read or written.
    """
    public = public_text(key.public_key())
    signature = base64.b64encode(key.sign(_signed(folder))).decode()
    others = [one for one in _signatures(folder) if one.key != public]
    content = msgspec.json.encode([*others, Signature(key=public, signature=signature)])
    try:
        write_whole(folder / SIGNATURES, msgspec.json.format(content, indent=2))
    except OSError as error:
        raise BundleError(f"{folder / SIGNATURES} cannot be written: {error}") from error
    return public


def check_signature(folder: Path, trusted: Sequence[str]) -> str:
    """Return the trusted key that signed a bundle's manifest.

    Args:
        folder: of the bundle, whose files are verified against the manifest when it is loaded.
        trusted: public keys.

    Raises:
        BundleError: none of them did, or the manifest was altered since.
    """
    signed, signatures = _signed(folder), _signatures(folder)
    if not signatures:
        raise BundleError(
            f"{folder} is not signed: it has no {SIGNATURES}, and the setting worker.trusted_keys "
            "demands a signature; `innerloop models sign` signs a bundle"
        )
    known = [one for one in signatures if one.key in trusted]
    if not known:
        names = ", ".join(fingerprint(one.key) for one in signatures)
        raise BundleError(
            f"{folder} is signed by {names}, which the setting worker.trusted_keys does not hold; "
            "the bundle is refused"
        )
    for one in known:
        if _is_valid(one, signed):
            return one.key
    raise BundleError(
        f"{folder / MANIFEST} is not what {fingerprint(known[0].key)} signed: it or {SIGNATURES} "
        "was altered; the bundle is refused"
    )


def fingerprint(key: str) -> str:
    """Return a short name of a public key."""
    return f"key {hashlib.sha256(key.encode()).hexdigest()[:16]}"


def _is_valid(one: Signature, signed: bytes) -> bool:
    try:
        raw = base64.b64decode(one.key.removeprefix(_PREFIX), validate=True)
        Ed25519PublicKey.from_public_bytes(raw).verify(
            base64.b64decode(one.signature, validate=True), signed
        )
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def _signed(folder: Path) -> bytes:
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(f"{folder} is not a bundle: it has no {MANIFEST}")
    return _CONTEXT + path.read_bytes()


def _signatures(folder: Path) -> list[Signature]:
    path = folder / SIGNATURES
    if not path.is_file():
        return []
    if path.stat().st_size > _MOST_BYTES:
        raise BundleError(f"{path} is larger than {_MOST_BYTES} bytes; it is no list of signatures")
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Signature])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{path} is no list of signatures: {error}") from error
