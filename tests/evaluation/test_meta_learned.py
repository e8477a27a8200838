"""Gradients and independence of users in the meta-learned rivals' inner loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from worker.evaluation.baselines.neural.decision_layers import (
    Anchors,
    DecisionLayers,
    Layers,
    Support,
    decide,
    support_losses,
)
from worker.evaluation.baselines.neural.meta_learned import MetaModel

DIM, HIDDEN, USERS, EVENTS, KNOWN, ANCHORS = 3, 4, 2, 4, 9, 5


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def _layers(**changes: object) -> DecisionLayers:
    kept = {
        "steps": 2,
        "rate": 0.5,
        "head_only": False,
        "second_order": True,
        "learn_rates": True,
    }
    layers = DecisionLayers(DIM, HIDDEN, **{**kept, **changes}).double()
    with torch.no_grad():
        layers.outer.normal_()
        layers.bias.normal_()
    return layers


def _anchors() -> Anchors:
    rows = torch.tensor([0, 1, 1, 4, 8])
    vectors = torch.randn(KNOWN, DIM + 1, dtype=torch.float64)
    return Anchors(rows, vectors[rows], torch.randn(KNOWN, dtype=torch.float64).log_softmax(0))


def _support() -> Support:
    rows = torch.randint(0, KNOWN, (USERS, EVENTS))
    mask = torch.tensor([[True, True, True, True], [False, False, True, True]])
    states = torch.randn(USERS, EVENTS, DIM, dtype=torch.float64)
    return Support(states, rows, torch.randn(USERS, EVENTS, DIM + 1, dtype=torch.float64), mask)


def _outer_loss(layers: Layers, support: Support, anchors: Anchors) -> Tensor:
    return support_losses(layers, support, anchors).mean()


def test_support_loss_is_the_mean_cross_entropy_of_the_users_own_events():
    layers, support, anchors = _layers().start(), _support(), _anchors()
    losses = []
    for user in range(USERS):
        own = []
        for t in support.mask[user].nonzero().flatten().tolist():
            query = decide(layers, support.states[user : user + 1, t : t + 1])[0, 0]
            row = int(support.rows[user, t])
            others = anchors.rows != row
            count = torch.log(torch.tensor(float(ANCHORS)))
            logits = anchors.vectors @ query - anchors.log_probability[anchors.rows] - count
            first = support.vectors[user, t] @ query
            all_logits = torch.cat([first[None], logits[others]])
            own.append(F.cross_entropy(all_logits[None], torch.tensor([0])))
        losses.append(torch.stack(own).mean())

    torch.testing.assert_close(support_losses(layers, support, anchors), torch.stack(losses))


def test_adaptation_is_gradient_descent_on_each_users_own_loss():
    layers, support, anchors = _layers(steps=1), _support(), _anchors()
    adapted = layers.adapt(support, anchors)
    for user in range(USERS):
        alone = Support(*(part[user : user + 1] for part in support))
        start = Layers(*(part.detach().requires_grad_() for part in layers.start()))
        loss = support_losses(start, alone, anchors).sum()
        gradients = torch.autograd.grad(loss, list(start))
        for name, part, gradient in zip(Layers._fields, start, gradients, strict=True):
            expected = (part - 0.5 * gradient)[0]
            torch.testing.assert_close(getattr(adapted, name)[user], expected)


def test_adaptation_lowers_the_loss_on_the_support_events():
    layers, support, anchors = _layers(steps=5, rate=0.05), _support(), _anchors()
    before = support_losses(layers.start(), support, anchors)
    after = support_losses(layers.adapt(support, anchors), support, anchors)
    assert (after < before).all()


def test_without_events_the_layers_stay_at_their_start():
    layers, support, anchors = _layers(), _support(), _anchors()
    nothing = support._replace(mask=torch.zeros_like(support.mask))
    for part, start in zip(layers.adapt(nothing, anchors), layers.start(), strict=True):
        torch.testing.assert_close(part, start.expand_as(part))


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("head_only", [False, True])
def test_the_second_order_meta_gradient_agrees_with_finite_differences(steps, head_only):
    layers, anchors = _layers(steps=steps, head_only=head_only), _anchors()
    support, query = _support(), _support()
    names = [name for name, _ in layers.named_parameters()]

    def outer(states: Tensor, vectors: Tensor, *parts: Tensor) -> Tensor:
        changed = support._replace(states=states, vectors=vectors)
        called = torch.func.functional_call(
            _Adapt(layers),
            {f"layers.{n}": p for n, p in zip(names, parts, strict=True)},
            (changed, anchors),
        )
        return _outer_loss(called, query, anchors)

    parts = [part.detach().clone().requires_grad_() for part in layers.parameters()]
    states = support.states.clone().requires_grad_()
    vectors = support.vectors.clone().requires_grad_()
    assert torch.autograd.gradcheck(outer, (states, vectors, *parts))


class _Adapt(torch.nn.Module):
    def __init__(self, layers: DecisionLayers) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, support: Support, anchors: Anchors) -> Layers:
        return self.layers.adapt(support, anchors)


def test_first_order_takes_the_gradient_at_the_adapted_layers():
    layers, support, anchors = _layers(second_order=False), _support(), _anchors()
    adapted = layers.adapt(support, anchors)
    outer = _outer_loss(adapted, _support(), anchors)
    at_adapted = torch.autograd.grad(outer, list(adapted), retain_graph=True)
    meta = torch.autograd.grad(outer, [layers.inner, layers.bias, layers.outer])
    for gradient, per_user in zip(meta, at_adapted, strict=True):
        torch.testing.assert_close(gradient, per_user.sum(dim=0))


def test_anil_adapts_the_outer_weights_alone():
    layers, support, anchors = _layers(head_only=True), _support(), _anchors()
    adapted, start = layers.adapt(support, anchors), layers.start()
    torch.testing.assert_close(adapted.inner, start.inner.expand_as(adapted.inner))
    torch.testing.assert_close(adapted.bias, start.bias.expand_as(adapted.bias))
    assert (adapted.outer - start.outer).abs().amax(dim=(1, 2)).min() > 1e-3


def test_adapting_without_a_graph_gives_the_same_layers():
    layers, support, anchors = _layers(), _support(), _anchors()
    with_graph = layers.adapt(support, anchors)
    with torch.no_grad():
        without = layers.adapt(support, anchors)
    for part, other in zip(with_graph, without, strict=True):
        torch.testing.assert_close(part, other)


def _model(*, reptile: bool = False, support: int = 3) -> MetaModel:
    layers = _layers(second_order=not reptile, learn_rates=not reptile)
    return MetaModel(
        KNOWN,
        layers,
        dim=DIM,
        dropout=0.0,
        hide=0.0,
        support=support,
        anchors=torch.arange(ANCHORS),
        log_probability=torch.full((KNOWN,), -2.0),
        reptile=reptile,
    ).double()


def test_a_query_depends_on_what_came_before_it_alone():
    model = _model().eval()
    rows = torch.randint(0, KNOWN, (3, 7))
    changed = rows.clone()
    changed[:, 4:] = (changed[:, 4:] + 1) % KNOWN
    with torch.no_grad():
        first, second = model.queries(rows), model.queries(changed)
    torch.testing.assert_close(first[:, :5], second[:, :5])
    assert (first[:, 5:] - second[:, 5:]).abs().amax() > 1e-4


def test_queries_are_those_of_layers_adapted_to_the_events_before():
    model = _model(support=3).eval()
    rows = torch.randint(0, KNOWN, (1, 6))
    with torch.no_grad():
        queries, states = model.queries(rows), model.states(rows)
    items = rows[:, 1:4]
    support = Support(states[:, 1:4], items, model.items.targets(items), torch.ones(1, 3).bool())
    layers = model._layers.adapt(support, model._anchors_of(model._anchors))
    torch.testing.assert_close(decide(layers, states[:, 4:5])[0, 0], queries[0, 4])


def test_users_side_by_side_do_not_touch_each_other():
    model = _model().eval()
    rows = torch.randint(0, KNOWN, (4, 6))
    with torch.no_grad():
        together = model.queries(rows)
        for user in range(len(rows)):
            torch.testing.assert_close(together[user], model.queries(rows[user : user + 1])[0])


def test_reptile_moves_the_start_towards_where_the_users_end():
    model = _model(reptile=True, support=6)
    rows, mask = torch.randint(0, KNOWN, (4, 6)), torch.ones(4, 6, dtype=torch.bool)
    negatives = torch.arange(KNOWN)

    model.loss(rows, mask, negatives, torch.full((KNOWN,), -2.0)).backward()

    states = model.states(rows).detach()
    support = Support(states, rows, model.items.targets(rows), mask)
    ends = model._layers.adapt(support, model._anchors_of(negatives[:ANCHORS]))
    steps, rate = 2, 0.5
    for name in Layers._fields:
        start = getattr(model._layers, name)
        away = start - getattr(ends, name).mean(dim=0)
        torch.testing.assert_close(start.grad, away / (steps * rate))


def test_unknown_items_are_no_support():
    model = _model().eval()
    rows = torch.tensor([[0, KNOWN, 3]])
    support = model._support_before(model.states(rows), rows, torch.tensor([0]), torch.tensor([3]))
    assert support.mask.tolist() == [[True, False, True]]
