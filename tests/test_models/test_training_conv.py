"""Convolutions for training on a CPU against PyTorch's own modules, forward and backward."""

import copy

import pytest
import torch
from torch import nn

from mmdet.models import training_conv
from mmdet.models.backbones import ResNet
from mmdet.models.training_conv import TrainingBlock, TrainingConv2d, for_training, weight_gradient


@pytest.fixture(params=[True, False], ids=['products', 'onednn'])
def weight_gradients(request, monkeypatch):
    """Both ways, whatever the CPU and the width."""
    monkeypatch.setattr(training_conv, 'WIDE', 1)
    monkeypatch.setattr(training_conv, 'ONEDNN_WEIGHT_GRADIENTS', not request.param)


@pytest.mark.parametrize('kernel', [(1, 1), (3, 3), (2, 5)])
@pytest.mark.parametrize('stride', [(1, 1), (3, 2)])
@pytest.mark.parametrize(('padding', 'dilation'), [((0, 0), (1, 1)), ((1, 2), (1, 2))])
def test_weight_gradient_is_that_of_autograd(kernel, stride, padding, dilation):
    torch.manual_seed(0)
    x = torch.randn(2, 4, 9, 11, dtype=torch.double)
    weight = torch.randn(6, 4, *kernel, dtype=torch.double, requires_grad=True)
    out = nn.functional.conv2d(x, weight, None, stride, padding, dilation)
    grad = torch.randn_like(out)
    out.backward(grad)
    ours = weight_gradient(x, grad, weight.shape, stride, padding, dilation)
    torch.testing.assert_close(ours, weight.grad)


def trained(model: nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Output of the last stage, and the gradient of each parameter by name."""
    out = model(x)[-1]
    torch.manual_seed(1)
    (out * torch.randn_like(out)).mean().backward()
    return out.detach(), {n: p.grad for n, p in model.named_parameters()}


@pytest.mark.parametrize('depth', [18, 50])
def test_a_resnet_gives_the_same_maps_gradients_and_names(depth, weight_gradients):
    torch.manual_seed(0)
    plain = ResNet(
        depth, base_channels=16, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2), frozen_stages=1
    )
    for module in plain.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1)
    plain.train()
    ours = copy.deepcopy(plain)
    for_training(ours)
    assert [type(block) for block in ours.layer2] == [TrainingBlock] * len(plain.layer2)
    assert list(ours.state_dict()) == list(plain.state_dict())
    x = torch.randn(2, 3, 64, 80).to(memory_format=torch.channels_last)
    expected, gradients = trained(plain, x)
    out, ours_by_name = trained(ours, x)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)
    assert all((g is None) == (ours_by_name[name] is None) for name, g in gradients.items())
    for name, gradient in gradients.items():
        if gradient is not None:
            error = (ours_by_name[name] - gradient).norm() / gradient.norm()
            assert error < 1e-4, (name, error)


def test_what_is_not_known_stays():
    """Groups, other borders, a class of the user's, batch norms that learn their statistics."""

    class Own(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) + 1

    layers = [
        Own(4, 4, 3),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, padding_mode='circular'),
    ]
    model = nn.Sequential(*layers, nn.Conv2d(4, 4, 3))
    for_training(model)
    assert list(model)[:3] == layers and type(model[3]) is TrainingConv2d
    learning = ResNet(18, base_channels=16, norm_eval=False).train()
    for_training(learning)
    learning(torch.randn(2, 3, 32, 32))
    assert learning.layer4[0].bn1.running_mean.any()


def test_autocast_computes_in_its_own_type():
    conv = TrainingConv2d(nn.Conv2d(16, 16, 3))
    with torch.autocast('cpu', torch.bfloat16):
        out = conv(torch.randn(1, 16, 8, 8))
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert conv.weight.grad.dtype == torch.float32
