"""Settings in lists of tables: what is wrong is named with its table, as everywhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.documents.configuration import configuration_document
from schemas.errors import SettingsError
from schemas.settings import PolicySettings, Restriction, ScoreRule, load_settings

TABLES = """
[policy]
leave_out = "seen"
brand_cap = 2

[[policy.restrictions]]
surface = "shoes-page"
categories = ["Shoes", "Home > Slippers"]

[[policy.restrictions]]
except_categories = ["Adult"]

[[policy.rules]]
brand = "acme"
add = 0.5
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "some.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_tables_are_read(tmp_path):
    policy = load_settings(written(tmp_path, TABLES)).policy
    assert policy.restrictions == (
        Restriction(surface="shoes-page", categories=("Shoes", "Home > Slippers")),
        Restriction(except_categories=("Adult",)),
    )
    assert policy.rules == (ScoreRule(brand="acme", add=0.5),)
    assert (policy.leave_out, policy.brand_cap, policy.diversity) == ("seen", 2, 0.0)


def test_a_list_from_the_environment_takes_the_place_of_the_files(tmp_path, monkeypatch):
    monkeypatch.setenv("INNERLOOP_POLICY__RULES", '[{"category": "Shoes", "add": -1}]')
    policy = load_settings(written(tmp_path, TABLES)).policy
    assert policy.rules == (ScoreRule(category="Shoes", add=-1.0),)
    assert len(policy.restrictions) == 2


@pytest.mark.parametrize(
    ("text", "named", "said"),
    [
        ('[[policy.restrictions]]\nsurface = "s"', "policy.restrictions[0]", "restricts nothing"),
        ("[[policy.rules]]\nadd = 1", "policy.rules[0]", "is for no items"),
        (
            '[[policy.rules]]\nitem = "i"\nadd = 1\n[[policy.rules]]\nitem = "i"',
            "policy.rules[1].add",
            "is missing",
        ),
        ('[[policy.rules]]\nitem = "i"\nadd = 101', "policy.rules[0].add = 101", "100"),
        ('[[policy.rules]]\nitem = "i"\nadd = nan', "policy.rules[0].add", "should"),
        (
            '[[policy.rules]]\nitem = "i"\nadd = 1\nbrnd = "x"',
            "policy.rules[0].brnd",
            "is no setting of [[policy.rules]] (did you mean brand?)",
        ),
        ("[policy]\nrules = [3]", "policy.rules[0] = 3", "should be a table"),
        ("[policy]\ndiversity = 1", "policy.diversity = 1", "less than 1"),
        ("[policy]\nbrand_cap = 0", "policy.brand_cap = 0", "greater than or equal to 1"),
        ('[policy]\nleave_out = "bought"', "policy.leave_out = 'bought'", "'purchased'"),
        ('[policy]\nexploration = "thompson"', "policy.exploration", "'posterior'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, named, said):
    file = written(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    message = str(caught.value)
    assert message.startswith(f"wrong setting: {named}")
    assert said in message
    assert str(file) in message


@pytest.mark.parametrize("value", ["{}", "[1", "Shoes"])
def test_a_variable_that_is_no_list_is_refused(monkeypatch, value):
    monkeypatch.setenv("INNERLOOP_POLICY__RULES", value)
    with pytest.raises(SettingsError, match="INNERLOOP_POLICY__RULES is not a JSON list"):
        load_settings(None)


def test_the_reference_has_the_settings_inside_of_lists():
    document = configuration_document()
    for setting, table in (("restrictions", Restriction), ("rules", ScoreRule)):
        part = document[document.index(f"### [[policy.{setting}]]") :]
        for name, field in table.model_fields.items():
            assert f"| `{name}` |" in part and field.description in part
    assert "| `policy.rules` | `INNERLOOP_POLICY__RULES` | list of tables | none |" in document
    assert PolicySettings.model_fields["rules"].description in document
