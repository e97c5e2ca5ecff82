"""The pyramid of YOLOX: top-down, then bottom-up (PANet, arXiv 1803.01534), of CSP layers."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmdet.models.backbones.csp_layers import CSPLayer, conv_bn_swish
from mmdet.registry import MODELS


@MODELS.register_module()
class YOLOXPAFPN(nn.Module):
    """One map of `out_channels` per input level.

    Args:
        in_channels: of each input level, finest first, each half the side of the one before.
        num_csp_blocks: of every CSP layer.
    """

    def __init__(self, in_channels: list[int], out_channels: int, num_csp_blocks: int = 3) -> None:
        super().__init__()
        pairs = list(pairwise(in_channels))  # fine, coarse
        self.reduce_layers, self.top_down_blocks = nn.ModuleList(), nn.ModuleList()
        for fine, coarse in reversed(pairs):
            self.reduce_layers.append(conv_bn_swish(coarse, fine, 1))
            self.top_down_blocks.append(CSPLayer(fine * 2, fine, num_csp_blocks, False))
        self.downsamples, self.bottom_up_blocks = nn.ModuleList(), nn.ModuleList()
        for fine, coarse in pairs:
            self.downsamples.append(conv_bn_swish(fine, fine, 3, stride=2))
            self.bottom_up_blocks.append(CSPLayer(fine * 2, coarse, num_csp_blocks, False))
        self.out_convs = nn.ModuleList(conv_bn_swish(c, out_channels, 1) for c in in_channels)

    def forward(self, maps: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, laterals = maps[-1], []  # laterals: coarsest first, each reduced to the finer's channels
        for reduce, block, fine in zip(
            self.reduce_layers, self.top_down_blocks, reversed(maps[:-1]), strict=True
        ):
            laterals.append(reduce(x))
            up = F.interpolate(laterals[-1], fine.shape[-2:], mode='nearest')
            x = block(torch.cat([up, fine], dim=1))
        outs = [x]
        for down, block, lateral in zip(
            self.downsamples, self.bottom_up_blocks, reversed(laterals), strict=True
        ):
            outs.append(block(torch.cat([down(outs[-1]), lateral], dim=1)))
        return tuple(conv(x) for conv, x in zip(self.out_convs, outs, strict=True))
