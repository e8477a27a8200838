"""The closed-form inner loop against autograd, and the meta-gradient against finite differences."""

import msgspec
import pytest
import torch

from schemas.clickstream import EventType
from worker.model.config import ModelConfig
from worker.model.fast_weights import (
    FastWeights,
    InnerLoop,
    Support,
    support_gradient,
    support_loss,
)
from worker.model.gaps import gap_bucket
from worker.model.meta_model import MetaRecommender

CONFIG = ModelConfig(dim=12, rank=3, anchors=17, text_dim=5)
USERS = 7


def randomised(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return module.double()


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def support(targets: torch.Tensor) -> Support:
    """Of each event type in turn, with gaps of all sizes."""
    n = len(targets)
    gaps = torch.tensor([-1.0, 0.0, 5.0, 90.0, 4e3, 1e5, 3e7])[:n]
    return Support(targets, torch.arange(n) % len(EventType), gaps)


def test_closed_form_step_is_autograds_gradient_step() -> None:
    loop = randomised(InnerLoop(CONFIG))
    hidden, target = random(USERS, 12, seed=2), random(USERS, 12, seed=3)
    anchors = random(17, 12, seed=4)
    start = FastWeights(random(USERS, 12, seed=5), random(USERS, 12, 3, seed=6))
    bias, adapter = (tensor.clone().requires_grad_() for tensor in start)
    keys = loop.keys(hidden).detach()
    loss = support_loss(loop.query(hidden, keys, FastWeights(bias, adapter)), target, anchors)
    of_bias, of_adapter = torch.autograd.grad(loss.sum(), (bias, adapter))
    decay_bias = torch.sigmoid(loop.decay_bias_logit)
    decay_adapter = torch.sigmoid(loop.decay_adapter_logit)

    step = loop.step(loop.query(hidden, keys, start), keys, start, support(target), anchors)

    expected_bias = decay_bias * bias - loop.step_bias * of_bias
    expected_adapter = decay_adapter * adapter - loop.step_adapter * of_adapter
    torch.testing.assert_close(step.weights.bias, expected_bias, atol=1e-5, rtol=0)
    torch.testing.assert_close(step.weights.adapter, expected_adapter, atol=1e-5, rtol=0)
    torch.testing.assert_close(step.loss_before, loss, atol=1e-5, rtol=0)


def test_float32_step_agrees_with_autograd_to_the_promised_error() -> None:
    query = random(USERS, 12).float().requires_grad_()
    target, anchors = random(USERS, 12, seed=8).float(), random(17, 12, seed=9).float()
    (expected,) = torch.autograd.grad(support_loss(query, target, anchors).sum(), query)
    gradient, _ = support_gradient(query, target, anchors)
    torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=0)


def test_a_step_lowers_the_support_loss_for_a_small_positive_step_size() -> None:
    loop = InnerLoop(CONFIG).double()
    with torch.no_grad():
        loop.step_bias.fill_(0.01)
        loop.step_adapter.fill_(0.01)
        loop.decay_bias_logit.fill_(50.0)
        loop.decay_adapter_logit.fill_(50.0)
    hidden, target, anchors = random(USERS, 12), random(USERS, 12, seed=2), random(17, 12, seed=3)
    start = loop.start(USERS)
    keys = loop.keys(hidden)
    step = loop.step(loop.query(hidden, keys, start), keys, start, support(target), anchors)
    after = support_loss(loop.query(hidden, keys, step.weights), target, anchors)
    assert (after < step.loss_before).all()


def outer_loss(model: MetaRecommender, *, first_order: bool = False) -> torch.Tensor:
    vectors, anchors = random(USERS, 6, 12, seed=11), random(17, 12, seed=12)
    types = torch.zeros(USERS, 6, dtype=torch.long)
    gaps = random(USERS, 6, seed=13).abs() * 100
    gaps[:, 0] = -1
    queries = model.unroll(vectors, types, gaps, anchors, first_order=first_order)
    flat = queries.reshape(-1, 12)
    return support_loss(flat, random(len(flat), 12, seed=14), anchors).mean()


@pytest.mark.parametrize(
    "name",
    [
        "inner_loop.start_bias",
        "inner_loop.start_adapter",
        "inner_loop.step_bias",
        "inner_loop.step_adapter",
        "inner_loop.decay_bias_logit",
        "inner_loop.decay_adapter_logit",
        "inner_loop.key_projection.weight",
        "session.start_hidden",
        "session.gru.weight_hh_l0",
    ],
)
def test_meta_gradient_through_the_unrolled_stream_agrees_with_finite_differences(name: str):
    model = randomised(MetaRecommender(CONFIG, known_items=3))
    parameter = model.get_parameter(name)
    (gradient,) = torch.autograd.grad(outer_loss(model), parameter)
    direction = random(*parameter.shape, seed=20)
    epsilon = 1e-6
    with torch.no_grad():
        parameter.add_(epsilon * direction)
        above = outer_loss(model)
        parameter.sub_(2 * epsilon * direction)
        below = outer_loss(model)
    numeric = (above - below) / (2 * epsilon)
    analytic = (gradient * direction).sum()
    assert analytic.abs() > 1e-8, "the parameter must matter for the check to mean anything"
    torch.testing.assert_close(analytic, numeric, rtol=1e-5, atol=1e-9)


def test_with_the_inner_loop_off_the_query_ignores_earlier_steps() -> None:
    model = randomised(MetaRecommender(CONFIG, known_items=3))
    vectors, anchors = random(2, 4, 12), random(17, 12, seed=2)
    types, gaps = torch.zeros(2, 4, dtype=torch.long), torch.full((2, 4), 1.0, dtype=torch.double)
    off = model.unroll(vectors, types, gaps, anchors, adapt=False)
    hidden = model.session.unroll(model.session.inputs(vectors, types, gaps)[:, :-1])
    keys = model.inner_loop.keys(hidden)
    expected = [
        model.inner_loop.query(hidden[:, t], keys[:, t], model.inner_loop.start(2))
        for t in range(4)
    ]
    torch.testing.assert_close(off, torch.stack(expected, dim=1))


OPTIONS = ModelConfig(
    dim=12,
    rank=3,
    anchors=17,
    text_dim=5,
    inner_steps=3,
    type_steps=True,
    timed_forgetting=True,
    inner_temperature=True,
)


def test_with_every_option_a_step_is_autograds_gradient_steps() -> None:
    loop = randomised(InnerLoop(OPTIONS))
    hidden, target = random(USERS, 12, seed=2), random(USERS, 12, seed=3)
    anchors = random(17, 12, seed=4)
    start = FastWeights(random(USERS, 12, seed=5), random(USERS, 12, 3, seed=6))
    keys = loop.keys(hidden).detach()
    types, gaps = support(target).types, support(target).gaps
    factor = loop.type_log_factor[types].exp()
    shift = loop.gap_decay_shift[gap_bucket(gaps, OPTIONS.gap_buckets)]

    bias = torch.sigmoid(loop.decay_bias_logit + shift[:, None]) * start.bias
    adapter = torch.sigmoid(loop.decay_adapter_logit + shift[:, None, None]) * start.adapter
    query = loop.query(hidden, keys, start)
    for _ in range(OPTIONS.inner_steps):
        temperature = loop.log_temperature.exp()
        leaf = query.detach().requires_grad_()
        loss = support_loss(temperature * leaf, target, anchors)
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)
        bias = bias - factor[:, None] * loop.step_bias * gradient
        outer = gradient[:, :, None] * keys[:, None, :]
        adapter = adapter - factor[:, None, None] * loop.step_adapter * outer
        query = loop.query(hidden, keys, FastWeights(bias, adapter))

    step = loop.step(loop.query(hidden, keys, start), keys, start, support(target), anchors)
    torch.testing.assert_close(step.weights.bias, bias)
    torch.testing.assert_close(step.weights.adapter, adapter)


def test_options_start_where_the_plain_inner_loop_is() -> None:
    plain, optional = InnerLoop(CONFIG), InnerLoop(msgspec.structs.replace(OPTIONS, inner_steps=1))
    optional.load_state_dict(plain.state_dict(), strict=False)
    hidden, target, anchors = (random(7, 12).float(), random(7, 12, seed=2).float(), random(17, 12))
    keys = plain.keys(hidden)
    of_both = [
        loop.step(hidden, keys, loop.start(USERS), support(target), anchors.float())
        for loop in (plain, optional)
    ]
    assert torch.equal(of_both[0].weights.bias, of_both[1].weights.bias)
    assert torch.equal(of_both[0].weights.adapter, of_both[1].weights.adapter)


def test_first_order_steps_have_the_same_value_and_another_gradient() -> None:
    model = randomised(MetaRecommender(CONFIG, known_items=3))
    exact, cut = outer_loss(model), outer_loss(model, first_order=True)
    assert torch.equal(exact, cut)
    parameter = model.inner_loop.start_bias
    (of_exact,) = torch.autograd.grad(exact, parameter)
    (of_cut,) = torch.autograd.grad(cut, parameter)
    assert not torch.allclose(of_exact, of_cut, rtol=1e-3)
    assert torch.nn.functional.cosine_similarity(of_exact, of_cut, dim=0) > 0.5


@pytest.mark.parametrize("name", ["type_log_factor", "gap_decay_shift", "log_temperature"])
def test_the_options_meta_gradient_agrees_with_finite_differences(name: str) -> None:
    model = randomised(MetaRecommender(OPTIONS, known_items=3))
    parameter = model.inner_loop.get_parameter(name)
    (gradient,) = torch.autograd.grad(outer_loss(model), parameter)
    direction, epsilon = random(*parameter.shape, seed=20), 1e-6
    with torch.no_grad():
        parameter.add_(epsilon * direction)
        above = outer_loss(model)
        parameter.sub_(2 * epsilon * direction)
        below = outer_loss(model)
    expected = float((above - below) / (2 * epsilon))
    assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-5)
