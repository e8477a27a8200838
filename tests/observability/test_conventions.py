"""Metrics of every process: names and units as Prometheus' conventions say, and few series.

https://prometheus.io/docs/practices/naming/
"""

import re

import pytest
from prometheus_client import Counter, Gauge, Histogram, generate_latest
from prometheus_files import promtool
from served_metrics import MADE, OPEN_LABELS, SPECS, registry

UNITS = ("seconds", "bytes", "nats")
ALL = [(process, spec) for process, specs in SPECS.items() for spec in specs.values()]
MOST_SERIES = 1500
"""Of one process, with as many values of open labels as a large shop has."""
OPEN_VALUES = {"partition": 64, "variant": 4, "currency": 8, "key": 16}
MOST_VALUES = 20
OTHER_UNITS = {"milliseconds", "ms", "minutes", "hours", "days", "kb", "mb", "percent"}
PERSONAL = {"user", "user_id", "session", "session_id", "event_id", "item", "item_id", "ip"}


@pytest.mark.parametrize(("process", "spec"), ALL, ids=[spec.name for _, spec in ALL])
def test_a_name_says_whose_it_is_what_and_in_which_unit(process, spec):
    assert re.fullmatch(r"innerloop(_[a-z]+)+", spec.name)
    words = spec.name.split("_")
    if process != "worker":
        owner = {"collector": ("collector", "tracker")}.get(process, (process,))
        assert words[1] in owner
    assert not set(words) & OTHER_UNITS
    assert (words[-1] == "total") == (spec.kind is Counter)
    for unit in UNITS:
        if unit in words:
            assert words.index(unit) >= len(words) - (2 if spec.kind is Counter else 1)
    if spec.kind is Gauge:
        assert words[-1] not in ("count", "sum", "bucket")
    assert spec.help.endswith(".")


@pytest.mark.parametrize(("process", "spec"), ALL, ids=[spec.name for _, spec in ALL])
def test_labels_are_few_and_say_nothing_of_anybody(process, spec):
    for label, values in spec.labels.items():
        assert re.fullmatch(r"[a-z_]+", label)
        assert label not in PERSONAL
        assert values or label in OPEN_LABELS
        assert len(values) <= MOST_VALUES
        assert label not in ("le", "quantile", "job", "instance")


@pytest.mark.parametrize("process", SPECS)
def test_the_number_of_series_is_bounded(process):
    series = 0
    for spec in SPECS[process].values():
        own = len(spec.buckets) + 3 if spec.kind is Histogram else 1
        if spec.name == "innerloop_model_info":
            own = 2  # its labels go together: one for each model served
        else:
            for label, values in spec.labels.items():
                own *= len(values) or OPEN_VALUES[label]
        series += own
    assert series <= MOST_SERIES


@pytest.mark.parametrize("process", MADE)
def test_promtool_finds_nothing_to_say_about_what_a_process_serves(process):
    done = promtool("check", "metrics", text=generate_latest(registry(process)).decode())
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
