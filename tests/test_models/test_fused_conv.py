"""Bias, residual and activation with the convolution: oneDNN's, the pass of Triton in its
interpreter, and on a GPU."""

import copy
import itertools

import pytest
import torch
from interpreted import assert_equal_in_the_interpreter, needs_triton
from torch import nn
from torchvision.models.resnet import BasicBlock

from mmdet.models import fused_conv
from mmdet.models.fold import fuse_conv_bn
from mmdet.models.task_modules import nms_kernel

PLAIN = {None: lambda x: x, 'relu': torch.relu, 'silu': nn.functional.silu}


def check_pass(device: str) -> None:
    """Both layouts, widths around a tile, channels that divide nothing, a single cell."""
    torch.manual_seed(0)
    for shape in ((2, 5, 7, 9), (1, 64, 3, 5), (2, 200, 4, 3), (3, 7, 1, 1), (1, 3, 17, 40)):
        for last, with_residual, act in itertools.product((False, True), (False, True), PLAIN):
            layout = torch.channels_last if last else torch.contiguous_format
            x, residual = (torch.randn(shape, device=device) for _ in range(2))
            x, bias = x.to(memory_format=layout), torch.randn(shape[1], device=device)
            wanted = x + bias[:, None, None] + (residual if with_residual else 0)
            wanted = PLAIN[act](wanted)
            found = fused_conv.add_bias_(x, bias, residual if with_residual else None, act)
            assert found is x
            torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def models() -> dict[str, tuple[nn.Module, int]]:
    """Each with how many of its convolutions get a bias, once batch norms are folded."""
    from mmdet.models.backbones import CSPDarknet, ResNet
    from mmdet.models.necks import ChannelMapper

    narrow = dict(base_channels=4, out_indices=(3,))
    return {
        'ResNet-18': (ResNet(18, **narrow), 20),
        'ResNet-50': (ResNet(50, **narrow), 53),
        'CSPDarknet': (CSPDarknet(deepen_factor=0.33, widen_factor=0.125), 35),
        'mapper': (nn.Sequential(nn.Conv2d(3, 4, 1), ChannelMapperOfOne(ChannelMapper([4], 8))), 2),
    }


class ChannelMapperOfOne(nn.Module):
    def __init__(self, mapper: nn.Module) -> None:
        super().__init__()
        self.mapper = mapper

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mapper((x,))[0]


def prepared(model: nn.Module) -> nn.Module:
    """In evaluation mode, with statistics that are not those of the start, norms folded."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.normal_(module.bias)
            nn.init.uniform_(module.running_var, 0.5, 2)
    model.eval()
    fuse_conv_bn(model)
    return model


@torch.no_grad()
def check_models(device: str) -> None:
    for name, (model, count) in models().items():
        plain = prepared(model).to(device)
        fused = copy.deepcopy(plain)
        weights = {id(p) for p in fused.parameters()}
        assert fused_conv.fuse_epilogues(fused) == count, name
        assert {id(p) for p in fused.parameters()} == weights
        left = [m for m in fused.modules() if type(m) in (nn.Conv2d, nn.ReLU, nn.SiLU)]
        assert not left, (name, left)
        x = torch.randn(1, 3, 64, 64, device=device)
        wanted, found = plain(x), fused(x)
        pairs = [(wanted, found)] if torch.is_tensor(wanted) else zip(wanted, found, strict=True)
        for a, b in pairs:
            torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-4)


@needs_triton
def test_the_pass_equals_plain_operations_in_the_interpreter(repo):
    assert_equal_in_the_interpreter(__file__, repo)


@pytest.mark.gpu
def test_the_pass_equals_plain_operations_on_a_gpu():
    if not torch.cuda.is_available() or not nms_kernel.usable(torch.device('cuda')):
        pytest.skip('needs a CUDA device where Triton works')
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    check_pass('cuda')
    check_models('cuda')


def test_fused_models_equal_plain_ones_on_a_cpu():
    assert fused_conv.usable(torch.device('cpu'), torch.float32)
    check_models('cpu')


class ReluTwice(nn.Module):
    """Named as a ResNet's stem, with an activation that serves twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu = nn.Conv2d(3, 3, 1), nn.Identity(), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.relu(self.relu(self.bn1(self.conv1(x))) - 1)


class Halved(BasicBlock):
    """Does something else than the block that it inherits."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) / 2


@torch.no_grad()
@pytest.mark.parametrize(
    'model',
    [
        ReluTwice(),
        nn.Sequential(Halved(3, 3)),
        nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, padding_mode='reflect'), nn.ReLU()),
        nn.Sequential(nn.Conv2d(3, 3, 3, padding='same'), nn.ReLU()),
    ],
    ids=['relu twice', 'inherited block', 'reflected border', 'named padding'],
)
def test_what_is_not_known_computes_the_same(model):
    plain = prepared(model)
    fused, x = copy.deepcopy(plain), torch.randn(2, 3, 9, 11)
    fused_conv.fuse_epilogues(fused)
    torch.testing.assert_close(fused(x), plain(x), rtol=1e-5, atol=1e-6)


def test_a_dtype_that_is_unknown_to_the_cpu_is_not_fused():
    assert not fused_conv.usable(torch.device('cpu'), torch.float16)


if __name__ == '__main__':
    check_pass('cpu')
    print('equal')
