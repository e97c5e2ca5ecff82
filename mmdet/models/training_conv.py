"""Convolutions for training on a CPU: one step with their frozen batch norm and ReLU.

A batch norm that keeps its statistics is a scale and a shift per channel. Multiplied into the
weights, they cost nothing, and the map before the norm need not be kept for the backward pass;
gradients of weight, scale and shift come out of the product rule. The gradients of a 1x1
convolution are matrix products; so is that of a larger wide kernel, one per place of it, where
oneDNN has nothing better (before AVX-512 its fallback reaches 5 to 48 GFLOP/s on one core, these
products 34 to 60).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.resnet import BasicBlock, Bottleneck

from mmdet.models.fused_conv import BLOCKS, is_plain

WIDE = 128  # channels from which weight gradients are products; at 64 they take 1.4 times as long
ONEDNN_WEIGHT_GRADIENTS = torch.backends.cpu.get_cpu_capability() == 'AVX512'


class _Conv2d(torch.autograd.Function):
    """`relu(conv2d(x, weight) + bias)`; the ReLU is optional."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, conv: nn.Conv2d, relu: bool):
        place = conv.padding, conv.stride, conv.dilation
        after = 'relu' if relu else 'none'
        out = torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *place, 1, after, [], '')
        ctx.save_for_backward(x, weight, out if relu else None)
        ctx.place = place
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, weight, out = ctx.saved_tensors
        padding, stride, dilation = ctx.place
        if out is not None:
            grad = torch.ops.aten.threshold_backward(grad, out, 0)
        wants_x, wants_weight = ctx.needs_input_grad[:2]
        grad_x = grad_weight = None
        pointwise = weight[0, 0].numel() == 1 and stride == (1, 1) and padding == (0, 0)
        if wants_x and pointwise:
            wants_x, grad_x = False, input_gradient(grad, weight)
        wide = min(weight.shape[:2]) >= WIDE
        if wants_weight and wide and (pointwise or not ONEDNN_WEIGHT_GRADIENTS):
            wants_weight = False
            grad_weight = weight_gradient(x, grad, weight.shape, stride, padding, dilation)
        if wants_x or wants_weight:
            gradients = torch.ops.aten.convolution_backward(
                grad, x, weight, None, stride, padding, dilation, False, (0, 0), 1,
                [wants_x, wants_weight, False],
            )  # fmt: skip
            grad_x = gradients[0] if wants_x else grad_x
            grad_weight = gradients[1] if wants_weight else grad_weight
        grad_bias = grad.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None
        return grad_x, grad_weight, grad_bias, None, None


def input_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    """Gradient of the input [N, I, H, W] of a 1x1 convolution of stride 1, channels last.

    Args:
        grad: of the output [N, O, H, W]. weight: [O, I, 1, 1].
    """
    return (grad.permute(0, 2, 3, 1) @ weight.flatten(1)).permute(0, 3, 1, 2)


def weight_gradient(
    x: Tensor,
    grad: Tensor,
    shape: torch.Size,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> Tensor:
    """Gradient of the weight [O, I, kh, kw] of a convolution, by one matrix product per place.

    Args:
        x: input [N, I, H, W]. grad: of the output [N, O, Ho, Wo]. Channels last, for speed.
    """
    height, width = grad.shape[2:]
    (top, left), (down, right) = padding, stride
    x = x.permute(0, 2, 3, 1)
    if top or left:  # a copy
        x = functional.pad(x, (0, 0, left, left, top, top))
    grad = grad.permute(0, 2, 3, 1).flatten(0, 2).t()
    out = x.new_empty(*shape[2:], *shape[:2])
    for i in range(shape[2]):
        for j in range(shape[3]):
            row, column = i * dilation[0], j * dilation[1]
            seen = x[:, row : row + down * height : down, column : column + right * width : right]
            torch.mm(grad, seen[:, :height, :width].flatten(0, 2), out=out[i, j])
    return out.permute(2, 3, 0, 1)


class TrainingConv2d(nn.Conv2d):
    """A convolution whose weights are those of another one."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__(
            conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding,
            conv.dilation, bias=conv.bias is not None, device='meta',
        )  # fmt: skip
        self.weight, self.bias = conv.weight, conv.bias

    def forward(self, x: Tensor) -> Tensor:
        return apply(self, x, self.weight, self.bias)


class TrainingBlock(nn.Module):
    """A residual block of a ResNet, with the children of another one under their names."""

    def __init__(self, block: BasicBlock | Bottleneck) -> None:
        super().__init__()
        for name, child in block.named_children():
            self.add_module(name, child)
        self.layers = [(name, f'bn{name[4:]}') for name in dict(block.named_children())
                       if name.startswith('conv')]  # fmt: skip
        self.downsample = block.downsample
        self.training = block.training  # not of its norms, which may keep their statistics

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for i, (conv, norm) in enumerate(self.layers, 1):
            last = i == len(self.layers)
            out = conv_norm(getattr(self, conv), getattr(self, norm), out, relu=not last)
        shortcut = x if self.downsample is None else conv_norm(*self.downsample, x, relu=False)
        return functional.relu(out + shortcut, inplace=True)


def conv_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor, relu: bool) -> Tensor:
    """Convolution, batch norm, ReLU; one step where the norm keeps its statistics."""
    if norm.training:
        out = norm(conv(x))
        return functional.relu(out) if relu else out
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    weight = conv.weight * scale[:, None, None, None]
    return apply(conv, x, weight, norm.bias - norm.running_mean * scale, relu)


def apply(
    conv: nn.Conv2d, x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool = False
) -> Tensor:
    """The convolution of a module with another weight and bias."""
    if torch.is_autocast_enabled('cpu'):
        out = functional.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation)
        return functional.relu(out) if relu else out
    return _Conv2d.apply(x, weight, bias, conv, relu)


def for_training(model: nn.Module) -> None:
    """Replace convolutions and residual blocks in place by those of this module.

    Parameters, buffers and their names stay; outputs and gradients change by rounding. Other
    classes than those whose forward is known stay as they are.

    Args:
        model: float32, on a CPU.
    """
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) in BLOCKS and all(map(_is_known, _convs(child))):
                setattr(module, name, TrainingBlock(child))
            elif _is_known(child):
                setattr(module, name, TrainingConv2d(child))


def _convs(block: nn.Module) -> list[nn.Module]:
    return [module for module in block.modules() if isinstance(module, nn.Conv2d)]


def _is_known(module: nn.Module) -> bool:
    return is_plain(module) and module.groups == 1
