"""What reads bytes from outside: each target may refuse them, in one way, and nothing else."""

import contextlib
import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from worker_parts import NOW_MS, Worker, event, message, messages

from schemas.codec import decode_rollout, decode_state, decode_transitions
from schemas.errors import BundleError, DecodeError
from worker.files import sha256_of
from worker.item_memory.config import MemoryConfig
from worker.item_memory.memory import ItemMemory
from worker.model.bundle import (
    MANIFEST,
    TEXT_ENCODER,
    Bundle,
    KnownItems,
    Provenance,
    write_bundle,
    write_memory,
)
from worker.model.config import ModelConfig

Target = Callable[[bytes], None]


class Clickstream:
    """A record of `clickstream` with any value goes through a whole worker."""

    def __init__(self, folder: Path) -> None:
        self._worker, self._offset = Worker(), 0

    def seeds(self) -> list[bytes]:
        return [m.value() for m in messages([event("u", n, f"i{n}") for n in range(3)])]

    def __call__(self, data: bytes) -> None:
        worker = self._worker
        self._offset += 1
        worker.journal.records.clear()
        worker.processor.process([message(data, b"u", self._offset)])
        # Answered, dead-lettered or left out (no consent, a copy), and the loop goes on.
        assert len(worker.journal.records) in (0, 1, 2)


class Changelog:
    """A user's record with any value is taken over, or reported; then the user has an event."""

    def __init__(self, folder: Path) -> None:
        self._worker, self._offset = Worker(), 1000  # beyond those of the seed
        logging.getLogger("worker.restore.loader").setLevel(logging.CRITICAL)

    def seeds(self) -> list[bytes]:
        worker = Worker()
        worker.process([event("u", n, f"i{n}") for n in range(6)])
        return [r.value for r in worker.journal.records if r.topic == "user-state"]

    def __call__(self, data: bytes) -> None:
        worker = self._worker
        self._offset += 1
        worker.loader.load([(b"u", data)], 0, self._offset)
        worker.process([event("u", self._offset, "i1", time=NOW_MS)], first_offset=self._offset)
        answers = worker.journal.recommendations()
        assert answers, "the user is served, whatever the record was"
        assert all(np.isfinite(i.score) for i in answers[-1].items)
        worker.journal.records.clear()
        worker.users.erase("u")


class Internal:
    """The other internal topics, and the state by itself."""

    def __init__(self, folder: Path) -> None:
        pass

    def seeds(self) -> list[bytes]:
        return [b"{}", b"\x80", b"\x9a"]

    def __call__(self, data: bytes) -> None:
        for decode in (decode_state, decode_transitions, decode_rollout):
            with contextlib.suppress(DecodeError):
                decode(data)


class BundleFolder:
    """A bundle with damage: two bytes say where, the others go there.

    Half of the time the manifest is made to agree, so that what reads the files is met, too.
    """

    def __init__(self, folder: Path) -> None:
        self._good, self._bad = folder / "good", folder / "bad"
        shutil.rmtree(folder, ignore_errors=True)
        (self._good / TEXT_ENCODER).mkdir(parents=True)
        (self._good / TEXT_ENCODER / "tokenizer.json").write_text("{}")
        memory = ItemMemory(MemoryConfig(neighbours=4), rows=3)
        rows = np.array([0, 1, 2, 1], np.int32)
        before = np.array([[-1] * 5, [0] + [-1] * 4, [1, 0, -1, -1, -1], [-1] * 5], np.int32)
        memory.learn(rows, before, np.zeros(4, np.int64), np.arange(4) * 1000)
        write_memory(self._good, memory, ["a", "b", "c"])
        provenance = Provenance(
            cut=0.5, cut_time=1, seed=0, train_events=1, train_users=1, settings={}
        )
        write_bundle(
            self._good,
            model=ModelConfig(dim=4, memory=MemoryConfig(neighbours=4)),
            weights={"w": torch.ones(2, 3)},
            items=KnownItems(item_ids=["a", "b"], counts=[2, 1]),
            provenance=provenance,
            metrics={},
            created_at=7,
        )
        self._names = sorted(
            p.relative_to(self._good) for p in self._good.rglob("*") if p.is_file()
        )

    def seeds(self) -> list[bytes]:
        return [bytes([file, place, 0, 255, 123]) for file in range(10) for place in (0, 9, 200)]

    def __call__(self, data: bytes) -> None:
        if len(data) < 2:
            return
        shutil.rmtree(self._bad, ignore_errors=True)
        shutil.copytree(self._good, self._bad)
        name, agree = self._names[data[0] // 2 % len(self._names)], data[0] % 2
        path = self._bad / name
        content = path.read_bytes()
        at = data[1] * max(1, len(content)) // 256
        path.write_bytes(content[:at] + data[2:] + content[at + len(data) - 2 :])
        if agree and name.name != MANIFEST:
            manifest = json.loads((self._bad / MANIFEST).read_bytes())
            manifest["files"][str(name)] = sha256_of(path)
            (self._bad / MANIFEST).write_text(json.dumps(manifest))
        with contextlib.suppress(BundleError):
            bundle = Bundle(self._bad)
            bundle.weights()
            bundle.items()
            bundle.memory(np.arange(len(bundle.memory_items())))


TARGETS: dict[str, type] = {
    "clickstream": Clickstream,
    "changelog": Changelog,
    "internal": Internal,
    "bundle": BundleFolder,
}
