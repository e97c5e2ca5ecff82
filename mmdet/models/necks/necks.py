"""Necks: from backbone channels to the detector's."""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from mmdet.core.errors import ConfigError
from mmdet.registry import MODELS


def conv_module(in_channels: int, out_channels: int, kernel: int, relu: bool) -> nn.Sequential:
    """A convolution with bias named `conv`, Xavier-uniform, with an optional ReLU."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)
    nn.init.xavier_uniform_(conv.weight)
    nn.init.zeros_(conv.bias)
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv)
    if relu:
        layers['activate'] = nn.ReLU(inplace=True)
    return nn.Sequential(layers)


@MODELS.register_module()
class ChannelMapper(nn.Module):
    """One convolution and ReLU per level: [N, C_i, H_i, W_i] -> [N, out_channels, H_i, W_i].

    Args:
        in_channels: channels of each input level.
        out_channels: channels of every output level.
        kernel_size: side of the convolution.
    """

    def __init__(self, in_channels: list[int], out_channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            conv_module(c, out_channels, kernel_size, relu=True) for c in in_channels
        )

    def forward(self, feats: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(conv(x) for conv, x in zip(self.convs, feats, strict=True))


@MODELS.register_module()
class FPN(nn.Module):
    """Feature pyramid (arXiv 1612.03144): lateral 1x1, nearest top-down sum, 3x3 output.

    Args:
        in_channels: channels of each input level, finest first.
        out_channels: channels of every output level.
        num_outs: output levels; those beyond the inputs halve the last output by subsampling.
    """

    def __init__(self, in_channels: list[int], out_channels: int, num_outs: int) -> None:
        super().__init__()
        if num_outs < len(in_channels):
            raise ConfigError(f'num_outs={num_outs} is below the {len(in_channels)} input levels.')
        self.num_outs = num_outs
        self.lateral_convs = nn.ModuleList(
            conv_module(c, out_channels, 1, relu=False) for c in in_channels
        )
        self.fpn_convs = nn.ModuleList(
            conv_module(out_channels, out_channels, 3, relu=False) for _ in in_channels
        )

    def forward(self, feats: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        laterals = [conv(x) for conv, x in zip(self.lateral_convs, feats, strict=True)]
        for i in range(len(laterals) - 1, 0, -1):
            size = laterals[i - 1].shape[2:]
            laterals[i - 1] = laterals[i - 1] + F.interpolate(laterals[i], size, mode='nearest')
        outs = [conv(x) for conv, x in zip(self.fpn_convs, laterals, strict=True)]
        while len(outs) < self.num_outs:
            outs.append(F.max_pool2d(outs[-1], kernel_size=1, stride=2))
        return tuple(outs)
