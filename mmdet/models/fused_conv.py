"""Convolutions that are one step with their bias, residual and activation, for testing.

On a GPU PyTorch adds the bias of a channels-last convolution in a pass over the map of its own, as
it does for a residual and an activation; in half precision these passes take longer than the
convolutions. Here they are one pass, written in Triton, which comes with PyTorch for CUDA. On a CPU
oneDNN does all of it while it computes the convolution.
"""

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from mmdet.models.backbones.resnet import DilatedBasicBlock, ResNet
from mmdet.models.task_modules import nms_kernel

try:
    import triton
    import triton.language as tl
except ImportError:  # builds of PyTorch without CUDA
    triton = None

TILE = 2048  # numbers per program
# whose forward is known; a class that inherits one may do something else
BLOCKS = (BasicBlock, DilatedBasicBlock, Bottleneck)
ACTIVATIONS = {nn.ReLU: 'relu', nn.SiLU: 'silu'}
ONEDNN_NAMES = {None: None, 'relu': 'relu', 'silu': 'swish'}

if triton is not None:

    @triton.jit
    def _epilogue_kernel(
        x, bias, residual, rows, columns, channels,
        CHANNELS_LAST: tl.constexpr, HAS_RESIDUAL: tl.constexpr, ACTIVATION: tl.constexpr,
        ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    ):  # fmt: skip
        row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
        at = row[:, None] * columns + column[None, :]
        inside = (row < rows)[:, None] & (column < columns)[None, :]
        value = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
        if CHANNELS_LAST:
            added = tl.load(bias + column, mask=column < columns, other=0.0)[None, :]
        else:
            added = tl.load(bias + row % channels, mask=row < rows, other=0.0)[:, None]
        value += added.to(tl.float32)
        if HAS_RESIDUAL:
            value += tl.load(residual + at, mask=inside, other=0.0).to(tl.float32)
        if ACTIVATION == 'relu':
            value = tl.maximum(value, 0.0)
        if ACTIVATION == 'silu':
            value = value / (1.0 + tl.exp(-value))
        tl.store(x + at, value.to(x.dtype.element_ty), mask=inside)


def add_bias_(
    x: Tensor, bias: Tensor, residual: Tensor | None = None, activation: str | None = None
) -> Tensor:
    """`activation(x + bias + residual)` in place, computed in float32.

    Args:
        x: [N, C, H, W], dense, in either layout. bias: [C].
        residual: of the shape and, for speed, of the layout of `x`.
        activation: 'relu', 'silu' or None.
    """
    channels_last = x.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    if residual is not None:
        residual = residual.contiguous(memory_format=layout)
    channels = x.shape[1]
    columns = channels if channels_last else x.shape[2] * x.shape[3]
    rows = x.numel() // max(columns, 1)
    wide = 128 if columns >= 128 else 64
    grid = (triton.cdiv(rows, TILE // wide), triton.cdiv(columns, wide))
    if x.numel():
        _epilogue_kernel[grid](
            x, bias, x if residual is None else residual, rows, columns, channels,
            CHANNELS_LAST=channels_last, HAS_RESIDUAL=residual is not None, ACTIVATION=activation,
            ROWS=TILE // wide, COLUMNS=wide,
        )  # fmt: skip
    return x


class FusedConv2d(nn.Conv2d):
    """A convolution that adds its bias together with what comes after it.

    Args:
        conv: whose weight and bias it takes over.
        activation: as of `add_bias_`.
    """

    def __init__(self, conv: nn.Conv2d, activation: str | None = None) -> None:
        super().__init__(
            conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding,
            conv.dilation, conv.groups, padding_mode=conv.padding_mode, device='meta',
        )  # fmt: skip
        self.weight, self.bias, self.activation = conv.weight, conv.bias, activation
        self.train(conv.training)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        if x.is_cuda:
            out = self._conv_forward(x, self.weight, None)
            return add_bias_(out, self.bias, residual, self.activation)
        place = (self.padding, self.stride, self.dilation, self.groups)
        after = ONEDNN_NAMES[self.activation]
        if residual is None:
            return torch.ops.mkldnn._convolution_pointwise(
                x, self.weight, self.bias, *place, after or 'none', [], ''
            )
        return torch.ops.mkldnn._convolution_pointwise.binary(
            x, residual, self.weight, self.bias, *place, 'add', 1.0, after, [], ''
        )


class FusedBlock(nn.Module):
    """A residual block of a ResNet whose batch norms are folded: its convolutions, of which the
    last one adds the input."""

    def __init__(self, block: BasicBlock | Bottleneck) -> None:
        super().__init__()
        self.names = [
            name for name, child in block.named_children() if isinstance(child, nn.Conv2d)
        ]
        for name in self.names:
            self.add_module(name, FusedConv2d(getattr(block, name), 'relu'))
        self.downsample = block.downsample or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for name in self.names[:-1]:
            out = getattr(self, name)(out)
        return getattr(self, self.names[-1])(out, self.downsample(x))


def usable(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether fused convolutions work for weights of this kind on `device`."""
    if device.type == 'cuda':
        return nms_kernel.usable(device)
    if device.type != 'cpu' or not hasattr(torch.ops.mkldnn, '_convolution_pointwise'):
        return False
    if dtype == torch.bfloat16:  # not on every processor
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return dtype == torch.float32 and torch.backends.mkldnn.is_available()


def fuse_epilogues(model: nn.Module) -> int:
    """Replace convolutions with a bias, in place, by such that add it with what follows.

    What follows is found in a residual block of a ResNet, in its stem, and in an `nn.Sequential` of
    a convolution, an identity (a batch norm that was folded) and an activation. Weights stay the
    same objects; outputs change by rounding.

    Args:
        model: in evaluation mode, batch norms folded, on a device where this is `usable`.

    Returns:
        the number of convolutions.
    """
    fused = 0
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) in BLOCKS and all(map(_is_fusible, _convs(child))):
                setattr(module, name, FusedBlock(child))
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, FusedConv2d):
                fused += 1
            elif _is_fusible(child):
                setattr(module, name, FusedConv2d(child, _take_activation(module, name)))
                fused += 1
    return fused


def _convs(block: nn.Module) -> list[nn.Module]:
    return [child for child in block.children() if isinstance(child, nn.Conv2d)]


def _is_fusible(module: nn.Module) -> bool:
    return is_plain(module) and module.bias is not None


def is_plain(module: nn.Module) -> bool:
    """A convolution of PyTorch's own, with a number of zeros around the map."""
    plain = type(module) is nn.Conv2d and module.padding_mode == 'zeros'
    return plain and not isinstance(module.padding, str)


def _take_activation(module: nn.Module, conv: str) -> str | None:
    """The activation behind a convolution, which becomes an identity."""
    if type(module) is nn.Sequential:
        names = list(dict(module.named_children()))
        following = names[names.index(conv) + 1 :]
    elif type(module) is ResNet and conv == 'conv1':  # the stem; elsewhere a ReLU may serve twice
        following = ['bn1', 'relu']
    else:
        return None
    for name in following:
        child = getattr(module, name)
        if type(child) in ACTIVATIONS:
            setattr(module, name, nn.Identity())
            return ACTIVATIONS[type(child)]
        if not isinstance(child, nn.Identity):
            return None
    return None
