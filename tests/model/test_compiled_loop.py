"""The compiled inner loop is the one of torch, for every option, and each user's own."""

import numpy as np
import pytest
import torch

from schemas.clickstream import EventType
from worker.model.compiled_loop import CompiledLoop
from worker.model.config import ModelConfig
from worker.model.fast_weights import FastWeights, Support
from worker.model.inner_loop_kernel import Coded
from worker.model.meta_model import MetaRecommender

SIZES = {"dim": 24, "rank": 3, "anchors": 20, "text_dim": 4}
OPTIONS = [
    {},
    {"inner_steps": 3},
    {"type_steps": True},
    {"timed_forgetting": True},
    {"inner_temperature": True},
    {
        "inner_steps": 2,
        "type_steps": True,
        "timed_forgetting": True,
        "inner_temperature": True,
    },
]


def made(options) -> tuple[MetaRecommender, torch.Tensor]:
    torch.manual_seed(0)
    model = MetaRecommender(ModelConfig(**SIZES, **options), 5).requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))
    return model, torch.randn(SIZES["anchors"], SIZES["dim"])


def drawn(n: int, seed: int = 1):
    draw = np.random.default_rng(seed)
    dim, rank = SIZES["dim"], SIZES["rank"]
    users = Coded(
        draw.normal(size=(n, dim)).astype(np.float32),
        draw.normal(size=(n, dim)).astype(np.float32),
        draw.uniform(0, 0.01, (n, rank)).astype(np.float32),
        draw.integers(-127, 128, (n, dim * rank)).astype(np.int8),
    )
    targets = torch.from_numpy(draw.normal(size=(n, dim)).astype(np.float32))
    types = torch.from_numpy(draw.integers(0, len(EventType), n))
    gaps = torch.from_numpy(draw.choice([-1.0, 0.0, 5.0, 1e4, 1e9], n).astype(np.float32))
    return users, targets, types, gaps


def weights_of(users: Coded) -> FastWeights:
    n = len(users.hidden)
    entries = users.entries.reshape(n, SIZES["dim"], SIZES["rank"]).astype(np.float32)
    return FastWeights(
        torch.from_numpy(users.bias), torch.from_numpy(entries * users.scales[:, None, :])
    )


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "+".join(options) or "plain")
@pytest.mark.parametrize("n", [1, 3, 50])
def test_a_step_is_that_of_torch(options, n):
    model, anchors = made(options)
    users, targets, types, gaps = drawn(n)
    loop, session = model.inner_loop, model.session
    compiled = CompiledLoop(loop, session, anchors)
    hidden, weights = torch.from_numpy(users.hidden), weights_of(users)
    keys = loop.keys(hidden)
    query = loop.query(hidden, keys, weights)
    torch.testing.assert_close(compiled.queries(users), query)
    after, loss = loop.step(query, keys, weights, Support(targets, types, gaps), anchors)
    step = compiled.adapt(users, targets, types, gaps)
    torch.testing.assert_close(step.bias, after.bias, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(step.adapter, after.adapter, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(step.loss_before, loss, atol=1e-4, rtol=1e-4)
    new = loop.query(hidden, keys, after)
    expected = loop.support_loss(new, targets, anchors)
    torch.testing.assert_close(step.loss_after, expected, atol=1e-4, rtol=1e-4)
    there = session.step(hidden, session.inputs(targets, types, gaps))
    torch.testing.assert_close(step.hidden, there)
    assert step.finite.all()


def test_a_user_fares_the_same_to_the_bit_whoever_else_is_there():
    model, anchors = made(OPTIONS[-1])
    compiled = CompiledLoop(model.inner_loop, model.session, anchors)
    users, targets, types, gaps = drawn(70)
    together = vars(compiled.adapt(users, targets, types, gaps))
    queries = compiled.queries(users)
    for some in ([3], [69, 3], list(range(0, 60, 3)), list(range(17))):
        part = Coded(*(column[some] for column in users))
        alone = vars(compiled.adapt(part, targets[some], types[some], gaps[some]))
        for name, value in alone.items():
            assert torch.equal(value, together[name][some]), name
        assert torch.equal(compiled.queries(part), queries[some])


def test_who_does_not_stay_finite_is_named():
    model, anchors = made({})
    compiled = CompiledLoop(model.inner_loop, model.session, anchors)
    users, targets, types, gaps = drawn(20)
    targets[4], users.bias[7], users.scales[9] = torch.nan, np.inf, np.inf
    finite = compiled.adapt(users, targets, types, gaps).finite
    assert (~finite).nonzero().flatten().tolist() == [4, 7, 9]
    users, targets, types, gaps = drawn(0)
    assert len(compiled.adapt(users, targets, types, gaps).finite) == 0
    assert compiled.queries(users).shape == (0, SIZES["dim"])
