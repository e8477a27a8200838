"""The rules of Prometheus: they are right, each alert is tested, and says what to do."""

import re

import pytest
import yaml
from prometheus_files import PROMETHEUS, RULES, RUNBOOK, names_in, promtool, rules
from served_metrics import served_names

TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
ALERTS = {rule["alert"]: rule for rule in rules("alert")}
PARTS = ("Meaning", "Likely causes", "Look at", "Do")


def test_the_configuration_and_rules_are_valid():
    done = promtool("check", "config", PROMETHEUS / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(RULES)} rule files found" in done.stdout


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_each_alert_fires_and_stays_silent_as_its_unit_tests_say(file):
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_alert_is_without_unit_tests_for_both():
    firing, silent = set(), set()
    for file in TESTS:
        for case in yaml.safe_load(file.read_text())["tests"]:
            named = {name for name in ALERTS if re.search(rf"\b{name}\b", case["name"])}
            (check,) = case["promql_expr_test"]
            shown = {
                match
                for sample in check["exp_samples"]
                for match in re.findall(r'alertname="(\w+)"', sample["labels"])
            }
            firing |= shown
            silent |= named - shown
    assert firing == set(ALERTS)
    assert silent >= set(ALERTS) - {"InnerloopLatencyBudgetBurnsSlowly"}
    assert "InnerloopLatencyBudgetBurnsSlowly" in silent


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_urgent_it_is_what_it_means_and_where_to_read_on(name):
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in ("critical", "warning")
    notes = alert["annotations"]
    assert set(notes) == {"summary", "description", "runbook_url"}
    assert notes["runbook_url"] == f"docs/runbook.md#{name.lower()}"


def test_the_runbook_has_a_section_for_each_alert_and_no_other():
    sections = re.split(r"^## ", RUNBOOK.read_text(), flags=re.MULTILINE)[1:]
    titles = [section.splitlines()[0] for section in sections]
    assert sorted(titles) == sorted(ALERTS)
    for section in sections:
        assert re.findall(r"^\*\*([\w ]+)\.\*\*", section, flags=re.MULTILINE) == list(PARTS)


@pytest.mark.parametrize("rule", rules("alert") + rules("record"), ids=lambda r: r["expr"][:60])
def test_rules_name_metrics_that_exist(rule):
    recorded = {other["record"] for other in rules("record")}
    assert names_in(rule["expr"]) <= served_names() | recorded


@pytest.mark.parametrize("rule", rules("record"), ids=lambda r: r["record"])
def test_recorded_series_are_named_level_metric_operations(rule):
    level, metric, operation = rule["record"].split(":")
    labels = re.search(r"by \(([^)]*)\)", rule["expr"])
    assert labels is not None and level == "_".join(labels[1].split(", "))
    assert metric.startswith("innerloop_")
    assert re.fullmatch(r"(ratio_|)rate\d+[mhd]|sum|max", operation)
