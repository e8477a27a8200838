"""A Grafana dashboard as its file has it: what each panel asks, and where it stands.

Only what is needed to draw it; the rest of the JSON is left alone. The fields are Grafana's:
https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from schemas.errors import InnerloopError

Unit = Literal["short", "s", "bytes", "percentunit"]
"""Of Grafana's units those that our dashboards use."""

_VARIABLE = re.compile(r"\$(\w+)|\$\{(\w+)\}")
_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_AUTO = "__auto"


class DashboardError(InnerloopError):
    """A dashboard cannot be read or drawn."""


class _Part(msgspec.Struct, frozen=True, rename="camel"):
    """A part of a dashboard's JSON."""


class Place(_Part, frozen=True):
    """Where a panel stands, in Grafana's grid of 24 columns."""

    x: int
    y: int
    w: int
    h: int


class Target(_Part, frozen=True):
    """A query."""

    expr: str
    legend_format: str = _AUTO
    instant: bool = False

    def name_of(self, labels: Mapping[str, str]) -> str:
        """Return what the legend calls a series."""
        if self.legend_format in ("", _AUTO):
            shown = ", ".join(f'{name}="{text}"' for name, text in labels.items())
            return f"{{{shown}}}" if shown else "value"
        return _LABEL.sub(lambda found: labels.get(found[1], ""), self.legend_format).strip()


class Defaults(_Part, frozen=True):
    """How values are shown."""

    unit: Unit = "short"


class FieldConfig(_Part, frozen=True):
    """How values are shown, unless there is an exception."""

    defaults: Defaults = Defaults()


class Transformation(_Part, frozen=True):
    """What Grafana makes of answers before it shows them."""

    options: dict[str, object] = {}


class Panel(_Part, frozen=True):
    """A panel, or a heading (`row`)."""

    type: Literal["row", "stat", "timeseries", "heatmap", "table"]
    title: str
    grid_pos: Place
    field_config: FieldConfig = FieldConfig()
    targets: tuple[Target, ...] = ()
    transformations: tuple[Transformation, ...] = ()

    @property
    def unit(self) -> Unit:
        """What the values are in."""
        return self.field_config.defaults.unit

    @property
    def hidden(self) -> frozenset[str]:
        """Columns that a table does not show."""
        excluded = (each.options.get("excludeByName", {}) for each in self.transformations)
        return frozenset(name for names in excluded if isinstance(names, dict) for name in names)


class Variable(_Part, frozen=True):
    """A choice at the head of a dashboard."""

    name: str
    type: str
    all_value: str = ".*"


class Templating(_Part, frozen=True):
    """The choices at the head of a dashboard."""

    variables: tuple[Variable, ...] = msgspec.field(name="list", default=())


class Dashboard(_Part, frozen=True):
    """A dashboard."""

    title: str
    panels: tuple[Panel, ...]
    templating: Templating = Templating()

    def filled(self, expr: str, rate_interval_s: float) -> str:
        """Return a query with `All` chosen for every variable.

        Args:
            expr: of a target.
            rate_interval_s: takes the place of `$__rate_interval`, seconds.

        Raises:
            DashboardError: it has a variable that the dashboard does not.
        """
        values = {each.name: each.all_value for each in self.templating.variables}
        values["__rate_interval"] = f"{math.ceil(rate_interval_s)}s"

        def value(found: re.Match[str]) -> str:
            name = found[1] or found[2]
            if name not in values:
                raise DashboardError(f"{self.title}: no variable is called {name}, in {expr}")
            return values[name]

        return _VARIABLE.sub(value, expr)


def require_matplotlib() -> None:
    """Refuse to go on without matplotlib.

    Raises:
        DashboardError: it is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise DashboardError('drawing needs matplotlib: pip install "innerloop[plots]"')


def files_in(folder: Path) -> list[Path]:
    """Return the dashboards' files in a folder.

    Raises:
        DashboardError: there are none.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise DashboardError(
            f"--folder: {folder} holds no *.json; give deploy/grafana/dashboards of the repository"
        )
    return files


def read_dashboard(path: Path) -> Dashboard:
    """Return the dashboard in a file.

    Raises:
        DashboardError: there is none, or it has panels or units that cannot be drawn here.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Dashboard)
    except OSError as error:
        raise DashboardError(f"{path}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise DashboardError(f"{path} is no dashboard that can be drawn: {error}") from None
