"""docs/security.md: the list of access is the code's, and the tests that it names are there."""

from __future__ import annotations

import re
from pathlib import Path

from schemas.access import Identity
from schemas.settings import Settings
from worker.access_control import access_of, as_markdown

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()


def test_the_table_of_access_is_what_the_command_prints():
    settings = Settings.model_validate({"worker": {"delivery": "exactly_once"}})
    _, table, _ = re.split(r"<!-- /?acls -->\n", PAGE)
    assert table.strip() == as_markdown(access_of(settings, tuple(Identity)), "")


def test_every_test_that_it_names_is_there():
    named = set(re.findall(r"`([\w/]*test_\w+\.py)`", PAGE))
    there = {
        path.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")
    }
    assert named
    assert not {name for name in named if not any(path.endswith(name) for path in there)}


def test_every_setting_that_it_names_is_there():
    sections = {name: field.annotation for name, field in Settings.model_fields.items()}
    pattern = rf"`({'|'.join(sections)})\.(\w+)[`\s=]"
    named = set(re.findall(pattern, PAGE))
    assert len(named) > 15
    known = {(name, field) for name, kind in sections.items() for field in kind.model_fields}
    assert {pair for pair in named if pair not in known} <= {("worker", "dead_letter_")}
