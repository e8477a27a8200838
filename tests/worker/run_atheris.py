"""Fuzz a target with coverage as the guide: run_atheris.py TARGET FOLDER [flags of libFuzzer]."""

import sys
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

# Not worker.*: what numba compiles cannot be instrumented. These are where bytes are read first.
with atheris.instrument_imports(include=["schemas"]):
    import schemas.codec  # noqa: F401

from fuzz_targets import TARGETS  # noqa: E402

from worker.model import bundle  # noqa: E402
from worker.restore.loader import StateLoader  # noqa: E402
from worker.stages.decode import Decoder  # noqa: E402

for owner, names in (
    (bundle, ("read_manifest", "_verify")),
    (bundle.Bundle, ("weights", "items", "memory_items", "memory")),
    (StateLoader, ("load", "_read")),
    (Decoder, ("decode",)),
):
    for function in names:
        atheris.instrument_func(getattr(owner, function))


def main() -> None:
    name, folder, *flags = sys.argv[1:]
    corpus = Path(folder) / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    target = TARGETS[name](Path(folder) / "work")
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *flags, str(corpus)], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
