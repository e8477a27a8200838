"""Who may import whom: one table, and a walk over every import statement of the product.

Imports within functions and for type checkers count, too: they say as much about who knows whom.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("schemas", "producer", "worker")

GROUND = {
    "schemas",
    "worker.batch_histogram",
    "worker.blake2b",
    "worker.byte_table",
    "worker.copy_bytes",
    "worker.data",
    "worker.event_arrays",
    "worker.event_keys",
    "worker.events_seen",
    "worker.files",
    "worker.health",
    "worker.recommendation_ids",
    "worker.rows",
    "worker.shards",
    "worker.tables",
    "worker.threads",
    "worker.topk",
}
"""What anybody in `worker` may use: it knows nothing but itself."""

BELOW = {
    "worker.encoder": GROUND,
    "worker.ranking_index": GROUND,
    "worker.item_memory": GROUND | {"worker.ranking_index"},
    "worker.model": GROUND | {"worker.encoder", "worker.item_memory", "worker.ranking_index"},
    "worker.metrics": GROUND,
    "worker.state": GROUND | {"worker.metrics", "worker.model"},
    "worker.stages": GROUND
    | {
        "worker.catalogue",
        "worker.item_memory",
        "worker.metrics",
        "worker.model",
        "worker.policy",
        "worker.ranking_index",
        "worker.state",
        "worker.tracing",
        "worker.trending",
    },
}
"""Parts of the core that know little of the rest of it."""

CORE = "the worker's core"
"""All of `worker` that has no line of its own in the table, and what is in `GROUND` and `BELOW`."""

MAY_IMPORT = {
    "schemas": set(),
    "producer": {"schemas"},
    "producer.collector": {"schemas", "producer"},
    **dict.fromkeys(GROUND - {"schemas"}, GROUND),
    **BELOW,
    CORE: {"schemas", CORE},
    # What stands on the core, and which the core knows nothing of.
    "worker.broker": {"schemas"},
    "worker.bench": {"schemas", CORE, "worker.broker", "worker.demo", "worker.evaluation"},
    "worker.capacity": {"schemas", CORE},
    "worker.dead_letters": {"schemas", CORE},
    "worker.demo": {"schemas", CORE, "worker.broker", "worker.subscriber", "worker.training"},
    "worker.evaluation": {"schemas", CORE, "worker.training"},
    "worker.insights": {"schemas", CORE},
    "worker.observing": {"schemas", CORE, "worker.broker", "worker.demo"},
    "worker.privacy.inquiry": {"schemas", CORE, "worker.insights"},
    "worker.subscriber": {"schemas", CORE},
    "worker.training": {"schemas", CORE},
    "worker.tuning": {"schemas", CORE, "worker.training"},
    "worker.cli": {*PACKAGES},
}
"""Part → whom it may import besides itself. A name covers what is below it, too."""


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def part_of(module: str) -> str:
    """Return the line of the table that a module comes under: the most specific one."""
    parts = [part for part in MAY_IMPORT if is_within(module, part)]
    return max(parts, key=len, default=CORE)


def may_import(importer: str, imported: str) -> bool:
    own, theirs = part_of(importer), part_of(imported)
    allowed = MAY_IMPORT[own]
    return (
        own == theirs
        or any(is_within(imported, name) for name in allowed)
        or (CORE in allowed and theirs in {CORE, *GROUND, *BELOW})
    )


def modules() -> dict[str, Path]:
    """Return the files of the product by the names of their modules."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }


MODULES = modules()


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and module of each import of ours."""
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            of_module = {f"{node.module}.{name.name}" for name in node.names}
            names = sorted(of_module & MODULES.keys()) or [node.module]
        yield from ((node.lineno, name) for name in names if name.split(".")[0] in PACKAGES)


def test_nobody_imports_who_is_not_to_be_known():
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {part_of(module)} may not import {imported}"
        for module, path in sorted(MODULES.items())
        for line, imported in imports(path)
        if not may_import(module, imported)
    ]
    assert not wrong, "\n".join([*wrong, "who may import whom is in MAY_IMPORT, in this file"])


def test_every_line_of_the_table_is_of_something_that_is_there():
    named = {*MAY_IMPORT, *set().union(*MAY_IMPORT.values())} - {CORE}
    assert named <= MODULES.keys()


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("schemas.codec", "worker.rows"),
        ("producer.tracker", "worker.rows"),
        ("producer.tracker", "producer.collector.app"),
        ("worker.session", "producer.tracker"),
        ("worker.session", "worker.demo.plan"),
        ("worker.privacy.records", "worker.insights.user_record"),
        ("worker.privacy.stage", "worker.privacy.inquiry"),
        ("worker.rows", "worker.catalogue"),
        ("worker.model.interface", "worker.stages.adapt"),
        ("worker.state.users", "worker.session"),
        ("worker.stages.rank", "worker.delivery.interface"),
        ("worker.stages.decode", "worker.rollout.routing"),
        ("worker.subscriber.client", "worker.cli.options"),
        ("worker.a_new_module", "worker.bench.report"),
    ],
)
def test_the_table_forbids(importer, imported):
    assert not may_import(importer, imported)
