"""A whole deployment, scraped by a real Prometheus: what dashboards show of it, and its faults.

Every query of every dashboard is asked, and drawn; alerts that take several processes are provoked.
"""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from asking import Asking, wait_until
from busy_shop import publish_items
from deployments import DEAD_LETTER_BYTES, ITEMS, PROCESSES, Deployment, deployed
from PIL import Image
from prometheus_files import DASHBOARDS, dashboards, panels, promtool, rules
from provoking import Provoking
from rollout_parts import fake_bundle, publish
from typer.testing import CliRunner

from schemas.settings import Settings
from worker.broker.kafka import KafkaBroker
from worker.cli.app import app

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MANY_ITEMS = 400
VARIABLES = {"$job": ".*", "$instance": ".*", "$__rate_interval": "10s"}
LARGEST_PICTURE = 300_000


@pytest.fixture(scope="module")
def deployment(
    kafka_broker: KafkaBroker,
    make_settings: Callable[[str], Settings],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployed")
    with deployed(make_settings(kafka_broker.bootstrap_servers), folder) as running:
        yield running


def filled(text: str) -> str:
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    assert "$" not in text, text
    return text


def finite(series: dict[str, Any]) -> bool:
    return math.isfinite(float(series["value"][1]))


def faults(asking: Asking, panel: dict[str, Any]) -> list[str]:
    """Return in words what a panel does not show, or what its legends lack."""
    answers = [(t, asking.query(filled(t["expr"]))) for t in panel["targets"]]
    found = [f"empty: {target['expr']}" for target, series in answers if not series]
    if not any(finite(one) for _, series in answers for one in series):
        found.append("no number")
    for target, series in answers:
        named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        if any(named - one["metric"].keys() for one in series):
            found.append(f"not all series have {sorted(named)}")
    return found


class Waiting:
    """The panels that have not shown what they should yet; those that have, have."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self.faults: dict[str, list[str]] = {}
        self._panels = {
            f"{name}: {panel['title']}": panel
            for name, dashboard in dashboards().items()
            for panel in panels(dashboard)
        }

    def over(self) -> bool:
        """Look once more; return whether all have shown it."""
        self.faults = {name: faults(self._asking, panel) for name, panel in self._panels.items()}
        self._panels = {name: p for name, p in self._panels.items() if self.faults[name]}
        return not self._panels


def await_all_scraped(deployment: Deployment) -> None:
    def all_answer() -> bool:
        return len(deployment.asking.query('up{job=~"innerloop-.*"} == 1')) == len(PROCESSES)

    wait_until(all_answer, "all processes scraped", deployment.said)


def drawn(deployment: Deployment, folder: Path) -> str:
    """Draw the dashboards with the command; return what it says."""
    flags = ["--prometheus", deployment.asking.server.url, "--out", str(folder)]
    flags += ["--minutes", "10", "--scrape-seconds", "2.5"]
    result = CliRunner().invoke(app, ["report", "dashboards", *flags], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_every_panel_of_every_dashboard_shows_something(
    deployment: Deployment, tmp_path: Path
) -> None:
    asking, said = deployment.asking, deployment.said
    await_all_scraped(deployment)
    waiting = Waiting(asking)

    def all_have_shown() -> bool:
        deployment.doors.send({"type": "view", "user_id": "visitor-1", "item_id": "i1"})
        deployment.doors.send({"type": "no such type"})
        return waiting.over()

    with deployment.doors.page("visitor-1") as status:
        assert status == 200
        wait_until(all_have_shown, "all panels", lambda: [waiting.faults, said()])

    for rule in rules("record"):
        name = rule["record"]
        wait_until(lambda name=name: bool(asking.query(name)), name)
    for name in PROCESSES:
        at = f"http://127.0.0.1:{deployment.ports[name]}/metrics"
        text = httpx.get(at, timeout=60, trust_env=False).text
        assert "visitor-" not in text
        done = promtool("check", "metrics", text=text)
        assert (done.returncode, done.stdout + done.stderr) == (0, ""), name

    told = drawn(deployment, tmp_path)
    assert "no data" not in told, told
    for dashboard in DASHBOARDS:
        picture = tmp_path / f"{dashboard.stem}.png"
        assert 20_000 < picture.stat().st_size < LARGEST_PICTURE
        with Image.open(picture) as image:
            assert len(image.convert("RGB").getcolors(100_000)) > 20


def test_faults_of_models_visitors_and_transactions(deployment: Deployment, tmp_path: Path) -> None:
    alerts, asking = Provoking(deployment.asking, "the whole deployment"), deployment.asking
    await_all_scraped(deployment)
    known = (
        "job_variant:innerloop_insights_hit_rate_falls:max offset 10s",
        "sum(innerloop_prequential_events_total) > 500",
    )
    # A fall is one from what was before; and while the window settles there may be one by chance.
    wait_until(lambda: all(map(asking.query, known)), "the hit-rate known", deployment.said)
    asking.await_silent("InnerloopHitRateDrift")

    publish_items(deployment.settings, range(ITEMS, MANY_ITEMS))
    deployment.visitors.items = MANY_ITEMS
    deployment.visitors.junk = os.urandom(2 * DEAD_LETTER_BYTES)
    gone = fake_bundle(tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone")
    publish(deployment.settings, gone)
    provoked = ("InnerloopHitRateDrift", "InnerloopTransactionsAbort", "InnerloopRolloutBehind")
    alerts.fires(*provoked)

    deployment.visitors.junk = b"{"
    publish(deployment.settings, fake_bundle(tmp_path / "good", "fake"))
    alerts.falls_silent(*provoked)
    alerts.assert_all_were_provoked()
