import pytest
import torch

from mmdet.models.losses import CrossEntropyLoss, SmoothL1Loss


@pytest.mark.parametrize('loss', [CrossEntropyLoss, SmoothL1Loss])
def test_loss_weight_multiplies(loss):
    pred = torch.rand(3, 4)
    target = torch.rand(3, 4) if loss is SmoothL1Loss else torch.tensor([0, 1, 3])
    once, thrice = (loss(loss_weight=w)(pred, target, torch.ones(3)) for w in (1.0, 3.0))
    assert thrice.item() == pytest.approx(3 * once.item())


@pytest.mark.parametrize('loss', [CrossEntropyLoss(), SmoothL1Loss()])
def test_half_precision_predictions_give_a_float32_loss(loss):
    pred = torch.rand(3, 4).bfloat16()
    target = torch.rand(3, 4) if isinstance(loss, SmoothL1Loss) else torch.tensor([0, 1, 3])
    weight = torch.rand(3)
    value = loss(pred, target, weight)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(pred.float(), target, weight).item(), rel=1e-6)
