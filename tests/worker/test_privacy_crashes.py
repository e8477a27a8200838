"""Workers killed amid erasures: in the end who asked is gone, and who came back is there."""

import os
import random
import signal
import sys
import time

import pytest
from exactly_once_parts import EXACTLY_ONCE
from privacy_parts import Shop, now_ms
from running_worker import PATIENCE_S, is_drained, wait_until, with_worker
from short_lives import Lives

USERS = 60
KILLS = 2


@pytest.fixture
def lives(tmp_path, monkeypatch):
    # The server that workers are forked off does not look for modules where this process does.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    lives = Lives(tmp_path)
    yield lives
    lives.end()


@pytest.fixture(params=["at least once", "exactly once"])
def shop(request, kafka_settings, produce_all, consume_all) -> Shop:
    changes = EXACTLY_ONCE if request.param == "exactly once" else {}
    settings = with_worker(kafka_settings, instance_id="first", batch_events=16, **changes)
    return Shop(settings, produce_all, consume_all)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_amid_erasures_nobody_stays_and_nobody_who_came_back_goes(shop, lives):
    draw = random.Random(1)
    users = [f"user-{n}" for n in range(USERS)]
    draw.shuffle(users)
    requests: dict[str, str] = {}
    back: list[str] = []
    shop.visited(users, 2)
    size = USERS // (KILLS + 2)
    for kill in range(KILLS):
        worker = lives.start(shop.settings)
        asking = users[size * kill : size * (kill + 1)]
        made = shop.erase(asking)
        requests |= made
        # Those of the time before are done for certain once one of these is, or this worker came.
        shop.visited([draw.choice(users[size * (KILLS + 1) :]) for _ in range(20)])
        shop.await_audit(made.values(), draw.randint(1, size))
        done = shop.audit()
        returning = [u for u in requests if requests[u] in done and u not in back][::2]
        shop.visited(returning, 2)
        back += returning
        time.sleep(draw.uniform(0.0, 1.0))
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        assert worker.exitcode == -signal.SIGKILL, lives.log(worker)
    shop.visited(list(requests), 1, time=now_ms() - 3_600_000)
    last = lives.start(shop.settings)
    wait_until(lambda: is_drained(shop.settings) or not last.is_alive(), "the rest", 2 * PATIENCE_S)
    shop.await_audit(requests.values())
    last.terminate()
    last.join(PATIENCE_S)
    assert last.exitcode == 0, lives.log(last)
    seen = shop.seen()
    assert {u: seen[u] for u in requests if u in seen} == dict.fromkeys(back, 2)
    assert all(seen[user] >= 2 for user in users if user not in requests)
    counts = [len(shop.audit()[request]) for request in requests.values()]
    assert min(counts) >= 1
    if shop.settings.worker.delivery == "exactly_once":
        assert max(counts) == 1
    for user in users:
        assert user not in lives.log(last)
