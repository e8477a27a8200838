"""`innerloop bench kernel`: adapted users per second, over users × d × r.

Three ways to take the same inner-loop step, which are checked to agree before they are timed:

- `closed_form`: `worker.model.fast_weights.InnerLoop.step`, as the worker runs it;
- `vmap_grad`: `torch.func.vmap(torch.func.grad(loss))` over the users;
- `autograd_loop`: a Python loop over users, `torch.autograd.grad` in each.

And two ways to put a user's last events into a vector anew after each event, which is other maths
and needs no r: `als_fold_in` (implicit's `recalculate_user`) and `ridge_fold_in` (a ridge head).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from schemas.clickstream import EVENT_TYPE_INDEX, EventType
from schemas.errors import BenchError
from worker.bench.ceilings import ceilings
from worker.bench.fold_in import als_fold_in, ridge_fold_in
from worker.bench.hardware import describe
from worker.bench.repetition import alternate
from worker.bench.report import Report, Run, Value
from worker.bench.stopwatch import Stopwatch
from worker.model.config import ModelConfig
from worker.model.fast_weights import FastWeights, InnerLoop, Support, support_loss

_TOLERANCE = 1e-4
_LOOP_USERS = 64


@dataclass(frozen=True)
class KernelPlan:
    """What to measure."""

    users: tuple[int, ...] = (64, 512, 4096)
    dims: tuple[int, ...] = (64, 128)
    ranks: tuple[int, ...] = (4, 16)
    anchors: int = 256
    history: int = 10
    """Events of a user that are folded in."""
    device: str = "cpu"
    repeats: int = 5
    at_least_s: float = 0.1
    """Each measurement repeats its call for so long."""
    quick: bool = False


class Problem:
    """The users of one case, at random weights.

    Args:
        plan: of the benchmark.
        users: n.
        dim: d.
        rank: r.
    """

    def __init__(self, plan: KernelPlan, users: int, dim: int, rank: int) -> None:
        device = torch.device(plan.device)
        torch.manual_seed(users + dim + rank)
        config = ModelConfig(dim=dim, rank=rank, anchors=plan.anchors)
        self.loop = InnerLoop(config).to(device).requires_grad_(False)
        scale = dim**-0.25
        self.hidden, bias, self.target = (
            scale * torch.randn(users, dim, device=device) for _ in range(3)
        )
        self.weights = FastWeights(bias, 0.1 * torch.randn(users, dim, rank, device=device))
        self.anchors = scale * torch.randn(plan.anchors, dim, device=device)
        view = EVENT_TYPE_INDEX[EventType.VIEW]
        types = torch.full((users,), view, device=device)
        self.support = Support(self.target, types, torch.full((users,), 30.0, device=device))

    @torch.inference_mode()
    def closed_form(self) -> FastWeights:
        """Return the weights after the step, as the worker takes it."""
        keys = self.loop.keys(self.hidden)
        query = self.loop.query(self.hidden, keys, self.weights)
        return self.loop.step(query, keys, self.weights, self.support, self.anchors).weights

    def vmap_grad(self) -> FastWeights:
        """Return the same by automatic differentiation, batched over users."""
        keys = self.loop.keys(self.hidden)
        gradient_of_each = torch.func.vmap(torch.func.grad(_loss), in_dims=(0, 0, 0, 0, None))
        gradient = gradient_of_each(self.weights, self.hidden, keys, self.target, self.anchors)
        return self._updated(self.weights, gradient)

    def autograd_loop(self, users: int) -> FastWeights:
        """Return the same for the first users, one user after the other."""
        updated = []
        for i in range(users):
            weights = FastWeights(*(w[i].clone().requires_grad_() for w in self.weights))
            key = self.loop.keys(self.hidden[i])
            loss = _loss(weights, self.hidden[i], key, self.target[i], self.anchors)
            gradient = FastWeights(*torch.autograd.grad(loss, weights))
            with torch.no_grad():
                updated.append(self._updated(weights, gradient))
        return FastWeights(*(torch.stack(column) for column in zip(*updated, strict=True)))

    def _updated(self, weights: FastWeights, gradient: FastWeights) -> FastWeights:
        loop, (bias, adapter) = self.loop, gradient
        return FastWeights(
            torch.sigmoid(loop.decay_bias_logit) * weights.bias - loop.step_bias * bias,
            torch.sigmoid(loop.decay_adapter_logit) * weights.adapter - loop.step_adapter * adapter,
        )

    def check(self, users: int) -> float:
        """Return the largest difference of any weight between the three ways.

        Raises:
            BenchError: it is not rounding.
        """
        expected, batched, looped = self.closed_form(), self.vmap_grad(), self.autograd_loop(users)
        worst = 0.0
        for one, other in (
            (expected, batched),
            (FastWeights(*(w[:users] for w in expected)), looped),
        ):
            pairs = zip(one, other, strict=True)
            worst = max(worst, *(float((a - b).abs().max()) for a, b in pairs))
        if not worst < _TOLERANCE:
            raise BenchError(f"the ways to take the step differ by {worst:g}: nothing was timed")
        return worst


def _loss(
    weights: FastWeights, hidden: Tensor, key: Tensor, target: Tensor, anchors: Tensor
) -> Tensor:
    """Support loss of one user, as a function of its fast weights."""
    query = hidden + weights.bias + weights.adapter @ key
    return support_loss(query.unsqueeze(0), target.unsqueeze(0), anchors)[0]


def step_flops(dim: int, rank: int, anchors: int) -> int:
    """Return the floating-point operations of a user's step in closed form.

    Keys and query 4dr, logits and their gradient 4Md + 4d, softmax 4M, update 3d + 4dr.
    """
    return 8 * dim * rank + 4 * anchors * dim + 7 * dim + 4 * anchors


def step_bytes(dim: int, rank: int) -> int:
    """Return the bytes that a user's step must move: h, b, v, A read and b, A written, float32."""
    return 4 * (4 * dim + 2 * dim * rank)


def run_kernel(plan: KernelPlan) -> Report:
    """Measure.

    Raises:
        BenchError: the ways to take the step do not agree.
    """
    device = torch.device(plan.device)
    settings: dict[str, Value] = {
        "anchors": plan.anchors,
        "history": plan.history,
        "repeats": plan.repeats,
        "at_least_s": plan.at_least_s,
        "matmul_precision": torch.get_float32_matmul_precision(),
    }
    run = Run("kernel", describe(plan.device), settings, _BIAS)
    limits = [ceilings(device, quick=plan.quick) for _ in range(2 if plan.quick else 3)]
    run.add("ceiling", {}, {name: [found[name] for found in limits] for name in limits[0]})
    for dim, users in product(plan.dims, plan.users):
        for rank in plan.ranks:
            _measure_steps(run, plan, users, dim, rank)
        _measure_fold_ins(run, plan, users, dim)
    return run.report()


_BIAS = [
    "The inner-loop step alone: no session encoder, no gathering from the arena and scattering to "
    "it, no second loss, which the worker has besides.",
    "Achieved FLOP/s and bytes/s count what the closed form has to do and move, whatever a way "
    "does besides.",
    f"The loop over users is timed on {_LOOP_USERS} users at most.",
    "Fold-ins start from the user's last events each time, so they need no state, but the events; "
    "they run on the CPU, implicit with the threads named here.",
]


def _measure_steps(run: Run, plan: KernelPlan, users: int, dim: int, rank: int) -> None:
    problem = Problem(plan, users, dim, rank)
    few = min(users, _LOOP_USERS)
    difference = problem.check(few)
    watch = Stopwatch(torch.device(plan.device), plan.at_least_s)

    def looped() -> FastWeights:
        return problem.autograd_loop(few)

    ways: dict[str, tuple[Callable[[], object], int]] = {
        "closed_form": (problem.closed_form, users),
        "vmap_grad": (problem.vmap_grad, users),
        "autograd_loop": (looped, few),
    }
    taken = alternate({name: _timed(watch, work) for name, (work, _) in ways.items()}, plan.repeats)
    for name, seconds in taken.items():
        rates = [ways[name][1] / s for s in seconds]
        figures = {
            "users_per_s": rates,
            "us_per_user": [1e6 / rate for rate in rates],
            "gflops_per_s": [rate * step_flops(dim, rank, plan.anchors) / 1e9 for rate in rates],
            "gbytes_per_s": [rate * step_bytes(dim, rank) / 1e9 for rate in rates],
            "largest_difference": [difference],
        }
        run.add(name, {"users": users, "dim": dim, "rank": rank}, figures)


def _measure_fold_ins(run: Run, plan: KernelPlan, users: int, dim: int) -> None:
    watch = Stopwatch(torch.device("cpu"), plan.at_least_s)
    ways: dict[str, Callable[[], object]] = {
        "ridge_fold_in": ridge_fold_in(users, dim, plan.history)
    }
    if importlib.util.find_spec("implicit") is None:
        run.skip("als_fold_in", "implicit is not installed: pip install 'innerloop[rivals]'")
    else:
        ways["als_fold_in"] = als_fold_in(users, dim, plan.history)
    taken = alternate({name: _timed(watch, work) for name, work in ways.items()}, plan.repeats)
    for name, seconds in taken.items():
        rates = [users / s for s in seconds]
        figures = {"users_per_s": rates, "us_per_user": [1e6 / rate for rate in rates]}
        run.add(name, {"users": users, "dim": dim}, figures)


def _timed(watch: Stopwatch, work: Callable[[], object]) -> Callable[[], float]:
    return lambda: watch.seconds(work)
