"""The compiled BLAKE2b is the one of RFC 7693, and that of hashlib."""

import hashlib

import numpy as np
import pytest

from worker.blake2b import BLOCK, blake2b


def hashed(message: bytes, size: int) -> bytes:
    room = max(1, -(-len(message) // BLOCK)) * BLOCK
    data = np.full(room, 0xAA, np.uint8)  # what was there before must not matter
    data[: len(message)] = np.frombuffer(message, np.uint8)
    digest = np.empty(size, np.uint8)
    blake2b(data, len(message), digest)
    return digest.tobytes()


def test_the_example_of_the_rfc():
    assert hashed(b"abc", 64).hex() == (
        "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1"
        "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923"
    )


def selftest_sequence(length: int, seed: int) -> bytes:
    """The deterministic sequence of the RFC's appendix E, which its self-test hashes."""
    mask = 0xFFFFFFFF
    a, b, out = 0xDEAD4BAD * seed & mask, 1, bytearray()
    for _ in range(length):
        a, b = b, (a + b) & mask
        out.append(b >> 24)
    return bytes(out)


@pytest.mark.parametrize("size", [20, 32, 48, 64])
@pytest.mark.parametrize("length", [0, 3, 128, 129, 255, 1024])
def test_the_messages_of_the_rfcs_self_test(size, length):
    message = selftest_sequence(length, length)
    assert hashed(message, size) == hashlib.blake2b(message, digest_size=size).digest()


def test_every_length_up_to_some_blocks():
    message = np.random.default_rng(2).bytes(5 * BLOCK)
    for length in range(len(message) + 1):
        expected = hashlib.blake2b(message[:length], digest_size=16).digest()
        assert hashed(message[:length], 16) == expected, length


def test_every_size_of_digest():
    for size in range(1, 65):
        assert hashed(b"abc", size) == hashlib.blake2b(b"abc", digest_size=size).digest()
