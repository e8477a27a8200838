"""How much of everything a workload takes, computed from what was measured."""

from __future__ import annotations

from worker.capacity.cost import Cost, measured_cost
from worker.capacity.plan import Plan, make_plan
from worker.capacity.workload import Workload

__all__ = ["Cost", "Plan", "Workload", "make_plan", "measured_cost"]
