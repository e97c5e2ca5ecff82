"""The Triton kernels, in Triton's interpreter and on a GPU: suppression against torchvision's
operator; bias, residual and activation with the convolution, which on a CPU is oneDNN's."""

import copy
import importlib.util
import itertools
import os
import subprocess
import sys
from unittest.mock import Mock

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock

from mmdet.models import fused_conv
from mmdet.models.backbones import CSPDarknet, ResNet
from mmdet.models.fold import fuse_conv_bn
from mmdet.models.necks import ChannelMapper
from mmdet.models.task_modules import nms_kernel

PLAIN = {None: lambda x: x, 'relu': torch.relu, 'silu': nn.functional.silu}
SIZES = ((1, 5), (63, 50), (64, 300), (65, 64), (500, 100), (700, 300))  # boxes, how many are kept
SHAPES = ((2, 5, 7, 9), (1, 64, 3, 5), (2, 200, 4, 3), (3, 7, 1, 1), (1, 3, 17, 40))
needs_triton = pytest.mark.skipif(
    importlib.util.find_spec('triton') is None, reason='triton is not installed'
)


@needs_triton
def test_kernels_equal_plain_operations_in_the_interpreter(repo):
    """In a process of its own, whose last word must be 'equal': Triton looks at the variable when
    it is imported."""
    environment = {**os.environ, 'TRITON_INTERPRET': '1', 'OMP_NUM_THREADS': '1'}
    environment['PYTHONPATH'] = os.pathsep.join([str(repo), environment.get('PYTHONPATH', '')])
    run = subprocess.run(
        [sys.executable, __file__], env=environment, capture_output=True, text=True, timeout=600
    )
    assert run.returncode == 0 and run.stdout.strip() == 'equal', run.stdout + run.stderr


@pytest.mark.gpu
def test_kernels_equal_plain_operations_on_a_gpu():
    if not torch.cuda.is_available() or not nms_kernel.usable(torch.device('cuda')):
        pytest.skip('needs a CUDA device where Triton works')
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    check_suppression('cuda', SIZES, (0.3, 0.5, 0.7))
    check_pass('cuda', SHAPES)
    check_models('cuda')


# ---- suppression


def quarter_pixel_boxes(images: int, count: int, seed: int) -> torch.Tensor:
    """Many ties, and no IoU that depends on how float32 is rounded."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.randint(0, 400, (images, count, 2), generator=generator) / 4
    return torch.cat([low, low + torch.randint(4, 240, low.shape, generator=generator) / 4], -1)


def check_suppression(device: str, sizes, thresholds) -> None:
    """Sizes around CHUNK and BLOCK, more and fewer boxes than are kept, invalid boxes, none."""
    for count, max_keep in sizes:
        for threshold in thresholds:
            boxes = quarter_pixel_boxes(3, count, seed=count).to(device)
            share = torch.tensor([[1.0], [0.8], [0.0]])
            valid = torch.rand(3, count, generator=torch.manual_seed(count)) < share
            indices, used = nms_kernel.greedy_nms(boxes, valid.to(device), threshold, max_keep)
            for i in range(3):
                existing = valid[i].nonzero().flatten()
                rank = -torch.arange(len(existing)).float()
                best = torchvision.ops.nms(boxes[i].cpu()[existing], rank, threshold)
                expected = existing[best][:max_keep].tolist()
                assert indices[i][used[i]].tolist() == expected, (count, max_keep, threshold)
                assert used[i].tolist() == [n < len(expected) for n in range(max_keep)]


def test_where_the_kernel_does_not_compile_one_sentence_says_so(monkeypatch):
    said = []
    monkeypatch.setattr(nms_kernel, 'print_log', lambda text, **_: said.append(text))
    failure = RuntimeError('Failed to find C compiler.\nTraceback')
    monkeypatch.setattr(nms_kernel, 'greedy_nms', Mock(side_effect=failure))
    assert not nms_kernel._compiles.__wrapped__(torch.device('cpu'))
    (text,) = said
    assert 'Failed to find C compiler' in text and 'gcc' in text and '\n' not in text


# ---- what follows a convolution


def check_pass(device: str, shapes) -> None:
    """Both layouts, widths around a tile, channels that divide nothing, a single cell."""
    torch.manual_seed(0)
    for shape in shapes:
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
    narrow = dict(base_channels=4, out_indices=(3,))
    return {
        'ResNet-18': (ResNet(18, **narrow), 20),
        'ResNet-50': (ResNet(50, **narrow), 53),
        'CSPDarknet': (CSPDarknet(deepen_factor=0.33, widen_factor=0.125), 35),
        'mapper': (ChannelMapper([3], 8), 1),
    }


def with_statistics(model: nn.Module) -> nn.Module:
    """In evaluation mode, with statistics that are not those of the start."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.normal_(module.bias)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model.eval()


@torch.no_grad()
def check_models(device: str) -> None:
    """Folded and fused as they were before."""
    for name, (model, count) in models().items():
        plain = with_statistics(model).to(device)
        fused = copy.deepcopy(plain)
        fuse_conv_bn(fused)
        weights = {id(p) for p in fused.parameters()}
        assert fused_conv.fuse_epilogues(fused) == count, name
        assert {id(p) for p in fused.parameters()} == weights
        kinds = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.SiLU)
        assert not [m for m in fused.modules() if type(m) in kinds], name
        x = torch.randn(1, 3, 64, 64, device=device)
        x = (x,) if name == 'mapper' else x
        for a, b in zip(plain(x), fused(x), strict=True):
            torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-4)


def test_fused_models_equal_plain_ones_on_a_cpu():
    assert fused_conv.usable(torch.device('cpu'), torch.float32)
    assert not fused_conv.usable(torch.device('cpu'), torch.float16)  # unknown to the CPU
    check_models('cpu')
    with pytest.raises(ValueError, match=r'model\.eval\(\)'):
        fuse_conv_bn(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))


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
    ],
    ids=['relu twice', 'inherited block', 'reflected border'],
)
def test_what_is_not_known_computes_the_same(model):
    plain = with_statistics(model)
    fused, x = copy.deepcopy(plain), torch.randn(2, 3, 9, 11)
    fused_conv.fuse_epilogues(fused)
    torch.testing.assert_close(fused(x), plain(x), rtol=1e-5, atol=1e-6)


if __name__ == '__main__':
    check_suppression('cpu', SIZES[2:5], (0.5,))
    check_pass('cpu', SHAPES[1:4])
    print('equal')
