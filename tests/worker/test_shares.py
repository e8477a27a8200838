"""Work in shares: all of it done once, an error raised, and torch left one thread by a worker."""

import threading

import numpy as np
import pytest
import torch

from worker.ranking_index.shares import in_shares
from worker.threads import serving_threads, threads_at_hand


@pytest.mark.parametrize("n", [0, 1, 7, 64, 1000])
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("least", [1, 64])
def test_every_part_is_done_once(n, threads, least):
    done = np.zeros(n, np.int64)
    lock = threading.Lock()

    def work(start, stop):
        with lock:
            done[start:stop] += 1

    in_shares(work, n, threads, least=least)
    assert (done == 1).all()


@pytest.mark.parametrize("bad", [0, 99])
def test_an_error_of_a_share_is_raised(bad):
    def work(start, stop):
        if start <= bad < stop:
            raise ValueError(bad)

    with pytest.raises(ValueError, match=str(bad)):
        in_shares(work, 100, 2)


@pytest.mark.parametrize("given", [None, 3])
def test_a_worker_shares_its_own_loops_and_leaves_torch_one_thread(given):
    before = torch.get_num_threads()
    assert threads_at_hand() == before
    with serving_threads(given):
        assert torch.get_num_threads() == 1
        assert threads_at_hand() == (given or before)
    assert torch.get_num_threads() == threads_at_hand() == before
