import naive
import numpy as np
import pytest
import torch

from mmdet.models.losses import CrossEntropyLoss, SmoothL1Loss

RNG = np.random.default_rng(0)


def test_softmax_cross_entropy_is_a_weighted_sum():
    logits, weight = RNG.normal(0, 3, (7, 31)), RNG.uniform(0, 1, 7)
    target = RNG.integers(0, 31, 7)
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = -(np.log(probability[np.arange(7), target]) * weight).sum()
    loss = CrossEntropyLoss()(torch.tensor(logits), torch.tensor(target), torch.tensor(weight))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_sigmoid_cross_entropy_is_a_weighted_sum():
    logits, weight = RNG.normal(0, 3, 9), RNG.uniform(0, 1, 9)
    target = RNG.integers(0, 2, 9)
    p = 1 / (1 + np.exp(-logits))
    expected = -((target * np.log(p) + (1 - target) * np.log(1 - p)) * weight).sum()
    loss = CrossEntropyLoss(use_sigmoid=True)(
        torch.tensor(logits), torch.tensor(target), torch.tensor(weight)
    )
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('beta', [1.0, 1 / 9])
def test_smooth_l1(beta):
    difference = np.array([[0, 0.3 * beta, beta, 1.5 * beta], [-0.9 * beta, -beta, -4.0, 100.0]])
    target, weight = RNG.normal(0, 1, (2, 4)), np.array([0.25, 2.0])
    expected = sum(w * naive.smooth_l1(d, beta) for w, d in zip(weight, difference, strict=True))
    loss = SmoothL1Loss(beta=beta)(
        torch.tensor(target + difference), torch.tensor(target), torch.tensor(weight)
    )
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('loss', [CrossEntropyLoss, SmoothL1Loss])
def test_loss_weight_multiplies(loss):
    pred = torch.rand(3, 4)
    target = torch.rand(3, 4) if loss is SmoothL1Loss else torch.tensor([0, 1, 3])
    once, thrice = (loss(loss_weight=w)(pred, target, torch.ones(3)) for w in (1.0, 3.0))
    assert thrice.item() == pytest.approx(3 * once.item())


@pytest.mark.parametrize(
    ('loss', 'pred', 'target'),
    [
        (CrossEntropyLoss(), (0, 31), torch.zeros(0, dtype=torch.long)),
        (CrossEntropyLoss(use_sigmoid=True), (0,), torch.zeros(0)),
        (SmoothL1Loss(), (0, 4), torch.zeros(0, 4)),
    ],
)
def test_nothing_to_learn_is_a_zero_that_keeps_the_graph(loss, pred, target):
    weights = torch.ones(pred, requires_grad=True)
    value = loss(weights * 2, target, torch.zeros(0))
    value.backward()
    assert value.item() == 0 and weights.grad is not None


@pytest.mark.parametrize('loss', [CrossEntropyLoss(), SmoothL1Loss()])
def test_half_precision_predictions_give_a_float32_loss(loss):
    pred = torch.rand(3, 4).bfloat16()
    target = torch.rand(3, 4) if isinstance(loss, SmoothL1Loss) else torch.tensor([0, 1, 3])
    weight = torch.rand(3)
    value = loss(pred, target, weight)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(pred.float(), target, weight).item(), rel=1e-6)
