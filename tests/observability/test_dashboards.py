"""The dashboards: what their source makes, whole, and of metrics that exist."""

import importlib.util
import sys

import pytest
from prometheus_files import DASHBOARDS, ROOT, dashboards, names_in, panels, rules
from served_metrics import served_names

SOURCE = ROOT / "deploy" / "grafana" / "build.py"
PANELS = [(name, panel) for name, board in dashboards().items() for panel in panels(board)]


@pytest.fixture
def built(monkeypatch):
    monkeypatch.syspath_prepend(str(SOURCE.parent))
    spec = importlib.util.spec_from_file_location("build_dashboards", SOURCE)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "build_dashboards", module)
    spec.loader.exec_module(module)
    return module.dashboards()


def test_the_files_are_what_their_source_makes(built):
    files = {file.stem: file.read_text() for file in DASHBOARDS}
    assert files == built, "write them anew: python deploy/grafana/build.py"


@pytest.mark.parametrize("name", dashboards())
def test_a_dashboard_can_be_put_beside_others_and_on_any_data_source(name):
    board = dashboards()[name]
    assert board["uid"] == f"innerloop-{name}"
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    variables = [variable["name"] for variable in board["templating"]["list"]]
    assert variables == ["datasource", "job", "instance"]
    taken = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        places = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not places & taken and at["x"] + at["w"] <= 24
        taken |= places


@pytest.mark.parametrize(
    ("name", "panel"), PANELS, ids=[f"{name}: {panel['title']}" for name, panel in PANELS]
)
def test_a_panel_asks_the_chosen_source_for_metrics_that_exist(name, panel):
    assert panel["title"] and panel["fieldConfig"]["defaults"]["unit"]
    recorded = {rule["record"] for rule in rules("record")}
    for target in panel["targets"]:
        assert target["datasource"]["uid"] == panel["datasource"]["uid"] == "${datasource}"
        assert names_in(target["expr"]) <= served_names() | recorded
