"""The neck of CenterNet (arXiv 1904.07850): deformable convolutions and upsampling."""

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from mmdet.registry import MODELS

KERNEL_CELLS = 9  # of a 3x3 kernel


class ModulatedDeformConv(nn.Module):
    """A 3x3 convolution whose nine points move and are weighted, per place (DCNv2, arXiv
    1811.11168). It starts as a plain convolution of half the strength. In float32 whatever the
    weights are: the operator knows no bfloat16."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        bound = 1 / math.sqrt(in_channels * KERNEL_CELLS)
        nn.init.uniform_(self.weight, -bound, bound)
        self.conv_offset = nn.Conv2d(in_channels, 3 * KERNEL_CELLS, 3, padding=1)
        nn.init.zeros_(self.conv_offset.weight)
        nn.init.zeros_(self.conv_offset.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H, W]."""
        shifts = self.conv_offset(x).float()  # (y, x) of each of the nine points, then weights
        offset, mask = shifts.split((2 * KERNEL_CELLS, KERNEL_CELLS), dim=1)
        weight = self.weight.float()
        return deform_conv2d(x.float(), offset, weight, padding=1, mask=mask.sigmoid()).to(x.dtype)


@MODELS.register_module()
class CTResNetNeck(nn.Module):
    """Doubles the side of a backbone's last map once for each of `channels`: H -> H * 2^n."""

    def __init__(self, in_channels: int, channels: tuple[int, ...] = (256, 128, 64)) -> None:
        super().__init__()
        layers = []
        for width in channels:
            layers.append(_layer(ModulatedDeformConv(in_channels, width), width))
            layers.append(_layer(_upsampling(width), width))
            in_channels = width
        self.deconv_layers = nn.Sequential(*layers)

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (self.deconv_layers(maps[-1]),)


def _layer(conv: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(conv=conv, bn=nn.BatchNorm2d(channels), activate=nn.ReLU(inplace=True))
    )


def _upsampling(channels: int) -> nn.ConvTranspose2d:
    """A 4x4 transposed convolution of stride 2. As in CenterNet, the first output channel starts as
    the bilinear interpolation of all input channels, the others at random."""
    conv = nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1, bias=False)
    ramp = 1 - (torch.arange(4) / 2 - 0.75).abs()
    with torch.no_grad():
        conv.weight[:, 0] = torch.outer(ramp, ramp)
    return conv
