"""Grafana's dashboard JSON, made of what is to be shown (schema version 39: Grafana 11 and later).

https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Panel = dict[str, Any]

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
STAT, WIDE = (6, 4), (12, 8)


def stat(title: str, query: str, unit: str) -> Panel:
    """Return a number."""
    options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "graphMode": "area"}
    return _panel("stat", title, {"": query}, unit, STAT, options=options)


def time_series(title: str, queries: Mapping[str, str], unit: str, description: str = "") -> Panel:
    """Return lines over time, of queries by their legends."""
    options = {
        "legend": {"displayMode": "list", "placement": "bottom"},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }
    return _panel(
        "timeseries", title, queries, unit, WIDE, description=description, options=options
    )


def heat_map(title: str, query: str, unit: str) -> Panel:
    """Return a histogram's buckets over time; `query` keeps the label `le`."""
    options = {
        "calculate": False,
        "yAxis": {"unit": unit, "axisPlacement": "left"},
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
    }
    panel = _panel("heatmap", title, {"{{le}}": query}, unit, WIDE, options=options)
    panel["targets"][0]["format"] = "heatmap"
    return panel


def table(title: str, query: str) -> Panel:
    """Return the labels of series as they are now."""
    panel = _panel("table", title, {"": query}, "short", WIDE)
    panel["targets"][0] |= {"format": "table", "instant": True, "range": False}
    hidden = {"Time": True, "Value": True, "__name__": True}
    panel["transformations"] = [{"id": "organize", "options": {"excludeByName": hidden}}]
    return panel


def row(title: str) -> Panel:
    """Return a heading."""
    size = {"w": COLUMNS, "h": 1}
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": size}


def dashboard(uid: str, title: str, panels: Sequence[Panel]) -> dict[str, Any]:
    """Return a dashboard of panels, laid out from left to right and from top to bottom."""
    return {
        "uid": uid,
        "title": title,
        "tags": ["innerloop"],
        "schemaVersion": 39,
        "editable": True,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "graphTooltip": 1,
        "templating": {"list": _variables()},
        "links": [
            {"type": "dashboards", "title": "innerloop", "tags": ["innerloop"], "asDropdown": True}
        ],
        "panels": _laid_out(panels),
    }


def _panel(
    kind: str,
    title: str,
    queries: Mapping[str, str],
    unit: str,
    size: tuple[int, int],
    *,
    description: str = "",
    options: Mapping[str, Any] | None = None,
) -> Panel:
    targets = [
        {
            "refId": chr(ord("A") + number),
            "datasource": SOURCE,
            "expr": query,
            "legendFormat": legend or "__auto",
            "range": True,
        }
        for number, (legend, query) in enumerate(queries.items())
    ]
    panel = {
        "type": kind,
        "title": title,
        "datasource": SOURCE,
        "gridPos": {"w": size[0], "h": size[1]},
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "options": dict(options or {}),
        "targets": targets,
    }
    return {**panel, "description": description} if description else panel


def _laid_out(panels: Sequence[Panel]) -> list[Panel]:
    placed, x, y, height = [], 0, 0, 0
    for number, panel in enumerate(panels, start=1):
        size = panel["gridPos"]
        if x + size["w"] > COLUMNS:
            x, y, height = 0, y + height, 0
        placed.append({"id": number, **panel, "gridPos": {**size, "x": x, "y": y}})
        x, height = x + size["w"], max(height, size["h"])
    return placed


def _variables() -> list[dict[str, Any]]:
    def of_label(name: str, query: str) -> dict[str, Any]:
        return {
            "name": name,
            "type": "query",
            "datasource": SOURCE,
            "query": {"query": query, "refId": name},
            "definition": query,
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        }

    source = {"name": "datasource", "label": "Data source", "type": "datasource"}
    return [
        {**source, "query": "prometheus", "current": {}},
        of_label("job", "label_values(innerloop_records_total, job)"),
        of_label("instance", 'label_values(innerloop_records_total{job=~"$job"}, instance)'),
    ]
