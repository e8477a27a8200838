"""Plans: the arithmetic, that more never takes less, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from schemas.errors import PlanError
from worker.capacity import Workload, make_plan, measured, measured_cost
from worker.capacity.measured import Figure, Throughput
from worker.capacity.plan import arena_slots, columns_bytes, user_row_bytes
from worker.cli.app import app
from worker.model.interface import UserArrays
from worker.state.arena import UserArena

ROOT = Path(__file__).parents[2]
USUAL = Workload(events_per_second=5_000, users=1_000_000, items=48_261)


def planned(workload: Workload, **own: float):
    return make_plan(workload, measured_cost(workload, **own))


def test_workers_by_hand():
    # 9,960 events/s at most, 3/8 of that within 200 ms, 126 µs each: 470,610 µs a second. Of those
    # 5.3 µs go to each of the 5,000; what is left is 444,110 for 120.7 µs an event: 1.36 workers.
    made = planned(USUAL)
    assert (made.workers, made.partitions, made.cores) == (2, 4, 4)
    # Without an item memory 20,831 / 2 = 10,415 events/s are within 200 ms.
    alone = replace(USUAL, item_memory=False)
    assert planned(replace(alone, events_per_second=10_415)).workers == 1
    assert planned(replace(alone, events_per_second=10_416)).workers == 2
    # Within 80 ms a quarter is: 5,207.
    assert planned(replace(alone, events_per_second=5_207, latency_ms=80)).workers == 1
    assert planned(replace(alone, events_per_second=5_208, latency_ms=80)).workers == 2


def test_own_figures_replace_the_measured_ones():
    workload = replace(USUAL, item_memory=False, items=5_000_000, latency_ms=1)
    assert planned(workload, most_events=1_000, load=0.5).workers == 10
    assert planned(workload, most_events=100_000, load=1.0).workers == 1


def test_bytes_by_hand():
    made = planned(replace(USUAL, item_memory=False, replication_factor=2, retention_days=1))
    answer = 3_500 - 1_381 - 75
    a_second = 5_000 * (200 + answer + 60)
    assert made.broker_disk_bytes == 2 * (86_400 * a_second + 2 * 1_000_000 * 1_411)
    assert made.changelog_bytes == 1_411_000_000
    assert made.broker_in_bytes_per_second == 5_000 * (230 + answer + 30 + 1_411)
    assert made.broker_replication_bytes_per_second == made.broker_in_bytes_per_second
    assert made.broker_out_bytes_per_second == 5_000 * (2 * 230 + 2 * (answer + 30))


class Sizes:
    """As much of a model and a catalogue as an arena without events asks for."""

    dim, rank, device = 24, 3, torch.device("cpu")
    item_ids: ClassVar[list[str]] = []

    def start(self, users: int) -> UserArrays:
        return UserArrays(
            torch.zeros(users, self.dim),
            torch.zeros(users, self.dim),
            torch.zeros(users, self.dim, self.rank),
        )


def test_users_take_what_the_arena_takes():
    sizes = Sizes()
    arena = UserArena(sizes, sizes, recent_events=32, top_k=20, capacity=16)
    rows = arena.gather_rows(arena.to_device(arena.admit_all(["u"], [0])))
    assert rows.shape[1] == user_row_bytes(sizes.dim, sizes.rank)
    assert sum(column.nbytes for column in arena.columns) == 16 * columns_bytes(32)
    made = planned(USUAL)
    assert made.device_bytes_per_million_users == 1_168_000_000
    slots = arena_slots(made.worker_users)
    assert slots == 524_288
    assert made.device_memory_bytes == 1.5 * slots * 1_168 + 48_261 * 96 * 4


def test_users_beyond_those_held_ready_are_on_disk():
    held = planned(USUAL)
    assert held.worker_folder_bytes == 0
    away = planned(replace(USUAL, resident_users=100_000))
    assert away.worker_memory_bytes < held.worker_memory_bytes
    assert away.worker_folder_bytes == 500_000 * (2_139 + 2_060)


def test_cells_share_evenly():
    whole = planned(replace(USUAL, item_memory=False, events_per_second=40_000))
    cell = planned(replace(USUAL, item_memory=False, events_per_second=40_000, cells=4))
    assert cell.worker_events_per_second * cell.workers == 10_000
    assert cell.worker_users * cell.workers >= 250_000
    assert whole.workers <= cell.total_workers <= whole.workers + 3


MORE = st.floats(1, 3)


@given(
    events=st.floats(1, 20_000), users=st.integers(10, 10**8), items=st.integers(1, 5_000_000),
    more=MORE, fewer_ms=st.floats(85, 300), memory=st.booleans(),
)  # fmt: skip
def test_more_never_takes_less(events, users, items, more, fewer_ms, memory):
    small = Workload(events, users, items, item_memory=memory, latency_ms=300)
    plan = planned(small)
    for larger in (
        replace(small, events_per_second=events * more),
        replace(small, users=int(users * more)),
        replace(small, items=int(items * more)),
        replace(small, latency_ms=fewer_ms),
        replace(small, retention_days=7 * more),
        replace(small, replication_factor=4),
        replace(small, readers=3),
        replace(small, growth=2 * more),
        replace(small, recent_events=64),
    ):
        other = planned(larger)
        assert other.workers >= plan.workers
        assert other.partitions >= plan.partitions >= plan.workers
        assert other.broker_disk_bytes >= plan.broker_disk_bytes
        assert other.broker_out_bytes_per_second >= plan.broker_out_bytes_per_second
        if larger.users > users and other.workers == plan.workers:
            assert other.worker_memory_bytes >= plan.worker_memory_bytes


@given(events=st.floats(1, 80_000), memory=st.booleans())
def test_no_worker_has_more_to_do_than_it_can(events, memory):
    workload = Workload(events, 1_000_000, 48_261, item_memory=memory)
    cost = measured_cost(workload)
    workers = make_plan(workload, cost).workers
    own = events / workers
    assert own * cost.event_us + (events - own) * cost.foreign_us <= cost.budget_us * (1 + 1e-9)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"events_per_second": 0}, "--events-per-second is 0; right would be .* above 0"),
        ({"events_per_second": float("nan")}, "--events-per-second is nan"),
        ({"users": 0}, "--users is 0; .* 1 or more"),
        ({"items": -5}, "--items is -5"),
        ({"readers": -1}, "--readers is -1; .* 0 or more"),
        ({"growth": 0.5}, "--growth is 0.5"),
        ({"mean_events_per_second": 6_000}, "more than the peak of 5000"),
        ({"latency_ms": 10}, "least 99th percentile that was measured is 82 ms"),
        ({"events_per_second": 1_000_000}, r"split the users over 23 or more .*--cells 23"),
        ({"users": 3, "cells": 4}, "--cells is 4, but there are 3 users"),
        ({"growth": 9_000}, "at most 10,000"),
    ],
)
def test_refuses_nonsense(change, says):
    with pytest.raises(PlanError, match=says):
        planned(replace(USUAL, **change))


def test_what_it_advises_works():
    workload = replace(USUAL, events_per_second=1_000_000, cells=23, users=10**8)
    assert planned(workload).workers > 1
    assert planned(replace(workload, cells=1, item_memory=False)).workers == 97


@pytest.mark.parametrize("own", [{"load": 0}, {"load": 1.5}, {"most_events": 0}])
def test_refuses_own_figures_that_cannot_be(own):
    with pytest.raises(PlanError, match=f"--{next(iter(own)).replace('_', '-')} is"):
        planned(USUAL, **own)


def test_every_figure_is_in_the_document_that_it_names():
    figures = {name: value for name, value in vars(measured).items() if isinstance(value, Figure)}
    figures |= {f"SCAN_US {size}": figure for size, figure in measured.SCAN_US}
    for name in ("WITH_MEMORY", "WITHOUT_MEMORY"):
        under_load: Throughput = getattr(measured, name)
        figures |= {f"{name} most": under_load.most_events, f"{name} cpu": under_load.cpu_us}
        for share, p99 in under_load.p99_ms:
            figures[f"{name} at {share}"] = Figure(p99, "ms", measured.RESULTS)
    for name, figure in figures.items():
        text = (ROOT / figure.source).read_text().replace("{,}", ",")
        forms = {"RESTORED_USERS": ["4.96"], "MACHINE_CORES": ["2 virtual cores"],
                 "PUBLISHED_BYTES": ["3.5 kB"], "PROCESS_BYTES": ["798 MB"],
                 "RING_BYTES": ["75 MB"], "SCAN_US 2000000": [".86 ms"]}  # fmt: skip
        wanted = forms.get(name, [f"{figure.value:,.10g}", f"{figure.value:g}".lstrip("0")])
        assert any(re.search(rf"(?<!\d){re.escape(one)}(?!\d)", text) for one in wanted), (
            f"{name}: {wanted} is not in {figure.source}"
        )


def test_command_prints_tables_and_json():
    flags = ["--events-per-second", "5000", "--users", "1000000", "--items", "48261"]
    shown = CliRunner().invoke(app, ["plan", *flags], env={"COLUMNS": "120"})
    assert shown.exit_code == 0, shown.output
    assert re.search(r"workers +│ +2 │", shown.output)
    told = CliRunner().invoke(app, ["plan", *flags, "--json"])
    report = json.loads(told.output)
    assert report["plan"] == asdict(planned(USUAL))
    assert report["workload"] == asdict(USUAL)


def test_command_has_a_flag_for_every_part_of_a_workload():
    shown = CliRunner().invoke(app, ["plan", "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    for name in asdict(USUAL):
        assert f"--{name.replace('_', '-')}" in shown.output
