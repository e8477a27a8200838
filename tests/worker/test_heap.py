"""What a worker's process has loaded is not gone through again by Python's collector."""

import subprocess
import sys

from fake_model import FakeModel
from running_worker import RunningWorker, make_topics, with_worker

from worker.service import WorkerService

CODE = """
import gc
from worker.heap import keep_what_is_loaded
loaded = [[n] for n in range(50_000)]
keep_what_is_loaded()
assert gc.get_freeze_count() > 50_000
assert len(gc.get_objects()) < 1_000

class Node:
    freed = 0

    def __init__(self):
        self.itself = self

    def __del__(self):
        Node.freed += 1

node = Node()
keep_what_is_loaded()
del node
gc.collect()
assert Node.freed == 0  # a cycle among what is kept stays
keep_what_is_loaded()
assert Node.freed == 1  # until the next time
"""


def test_collections_go_by_what_is_loaded_until_the_next_time():
    subprocess.run([sys.executable, "-c", CODE], check=True)


def test_a_worker_tells_that_it_begins_to_serve(embedded_settings):
    settings = with_worker(embedded_settings)
    make_topics(settings)
    worker = RunningWorker(settings)
    told = []
    worker.service = service = WorkerService(
        settings, FakeModel(), on_serving=lambda: told.append(service.serving.is_set())
    )
    worker.start()
    worker.stop()
    assert told == [False]
