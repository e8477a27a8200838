"""Which events are of a scenario, by columns of either file, and what is said of wrong names."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from schemas.errors import DataError, SettingsError
from worker.data import load_events, load_items
from worker.scenarios import NONE, ScenarioChoice, Scenarios, find_scenarios

CATEGORIES = ["auto.parts", "auto.tools.saw", "auto", "kids.toys", None, ""]
# Out of time order, with an event that is no evidence, to see that rows stay with their events.
EVENTS = [
    # user, item, type, time, surface
    ("u1", "i3", "view", 50, "ads"),
    ("u1", "i0", "view", 10, "home"),
    ("u2", "i1", "list_view", 20, "home"),
    ("u2", "i1", "view", 30, "ads"),
    ("u3", "i2", "purchase", 30, None),
    ("u3", "i4", "view", 40, "search"),
    ("u1", "i5", "view", 60, "home"),
    ("u1", "i1", "view", 70, "home"),
]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    events, items = tmp_path / "events.csv", tmp_path / "items.csv"
    columns = ["user_id", "item_id", "event_type", "timestamp", "surface"]
    pl.DataFrame(EVENTS, columns, orient="row").write_csv(events)
    ids = [f"i{n}" for n in range(len(CATEGORIES))]
    numbers = [7, 7, 8, 8, 9, 9]
    frame = {"item_id": ids, "title": ids, "category_code": CATEGORIES, "department": numbers}
    pl.DataFrame(frame).write_csv(items)
    return events, items


def find(files: tuple[Path, Path], text: str) -> Scenarios:
    events, items = files
    table = load_items(items)
    choice = ScenarioChoice.parse(text, "--scenarios")
    return find_scenarios(choice, events, items, table, load_events(events, table))


@pytest.mark.parametrize(
    ("text", "places"),
    [
        # In time order: i0, i1, i2, i4, i3, i5, i1.
        ("category_code=auto.parts", [0, NONE, NONE, NONE, NONE, NONE, NONE]),
        ("category_code=auto.*", [0, 0, NONE, NONE, NONE, NONE, 0]),
        ("category_code=auto*", [0, 0, 0, NONE, NONE, NONE, 0]),
        ("category_code=kids.toys,auto.*", [1, 1, NONE, NONE, 0, NONE, 1]),
        ("department=8", [NONE, NONE, 0, NONE, 0, NONE, NONE]),
        ("surface=ads", [NONE, 0, NONE, NONE, 0, NONE, NONE]),
        ("surface", [1, 0, NONE, 2, 0, 1, 1]),
    ],
)
def test_values_endings_and_whole_columns_of_items_and_of_events(files, text, places):
    found = find(files, text)
    assert found.of_event.tolist() == places
    assert found.mask.tolist() == [place != NONE for place in places]


def test_scenarios_are_named_as_asked_for_and_their_items_counted(files):
    found = find(files, "category_code=kids.toys,auto.*")
    assert (found.column, found.labels) == ("category_code", ("kids.toys", "auto.*"))
    assert found.items == (1, 2)


def test_a_large_column_taken_whole_is_refused(files):
    items = files[1]
    many = [f"c{n:02}" for n in range(len(CATEGORIES))]
    pl.read_csv(items).with_columns(pl.Series("campaign", many)).write_csv(items)
    assert find(files, "campaign").labels == tuple(many)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(DataError, match="6 values, more"):
        patch.setattr("worker.scenarios.MOST_VALUES", 5)
        find(files, "campaign")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour=red", r"no column 'colour': .*items.csv has item_id, .*events.csv has user_id, "),
        (
            "category_code=auto.parts,sport.*",
            r"no event has category_code=sport\.\*; it has auto.tools.saw, auto, auto.parts, kids",
        ),
        ("category_code=auto.*,auto.parts", r"auto\.\* and .*auto.parts overlap: .* 'auto.parts'"),
    ],
)
def test_what_there_is_not_is_said_with_what_there_is(files, text, message):
    with pytest.raises(DataError, match=message):
        find(files, text)


@pytest.mark.parametrize("text", ["", "=auto", "category_code=", "category_code=a,,b"])
def test_a_choice_of_another_form_is_refused(text):
    with pytest.raises(SettingsError, match=r"--hold-out '.*' should be a column and its values"):
        ScenarioChoice.parse(text, "--hold-out")


def test_a_choice_needs_values_where_a_flag_does():
    assert ScenarioChoice.parse("a", "--scenarios") == ScenarioChoice("a")
    with pytest.raises(SettingsError, match="--hold-out 'a' names no values: give a=VALUE"):
        ScenarioChoice.parse_values("a", "--hold-out")
    choice = ScenarioChoice.parse_values("a=x, y,x", "--hold-out")
    assert choice == ScenarioChoice("a", ("x", "y"))
