from __future__ import annotations

import numpy as np

from worker.encoder.vector_cache import VectorCache, text_key


def row(value: float) -> np.ndarray:
    return np.full((1, 2), value, np.float32)


def test_the_least_recently_used_makes_room():
    cache = VectorCache(2)
    cache.add([b"a"], row(1))
    cache.add([b"b"], row(2))
    assert list(cache.find([b"a"])) == [b"a"]
    cache.add([b"c"], row(3))
    assert set(cache.find([b"a", b"b", b"c"])) == {b"a", b"c"}
    assert (cache.hits, cache.misses) == (3, 1)


def test_of_a_batch_larger_than_the_cache_the_last_stay():
    cache = VectorCache(3)
    keys = [bytes([number]) for number in range(10)]
    cache.add(keys, np.arange(20, dtype=np.float32).reshape(10, 2))
    assert len(cache) == 3
    found = cache.find(keys)
    assert list(found) == keys[-3:]
    np.testing.assert_array_equal(found[keys[-1]], [18, 19])


def test_no_entries_keep_nothing():
    cache = VectorCache(0)
    cache.add([b"a"], row(1))
    assert len(cache) == 0
    assert cache.find([b"a"]) == {}


def test_a_vector_is_copied_on_its_way_in():
    cache = VectorCache(1)
    vectors = row(1)
    cache.add([b"a"], vectors)
    vectors[:] = 9
    np.testing.assert_array_equal(cache.find([b"a"])[b"a"], [1, 1])


def test_keys_tell_texts_apart_and_are_stable():
    texts = ["", " ", "a", "A", "\ud800", "\ufffd", "手机"]
    assert len({text_key(text) for text in texts}) == len(texts)
    assert text_key("a").hex() == "27c35e6e9373877f29e562464e46497e"
